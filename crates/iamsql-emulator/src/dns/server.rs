//! The DNS server: reads questions from UDP and TCP, lets a fault answer them, or else the zone.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{DnsQuery, DnsRecord, key, parse_name, zone};
use crate::faults::{DnsCode, Effect};
use crate::world::World;

/// The two sockets of the server, on the same port.
pub(crate) struct Sockets {
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
}

/// Binds UDP and TCP on one port: `port`, or any if that is 0.
pub(crate) fn bind(address: IpAddr, port: u16) -> anyhow::Result<(Sockets, SocketAddr)> {
    let mut attempts = ATTEMPTS;
    loop {
        let tcp = std::net::TcpListener::bind((address, port))
            .with_context(|| format!("cannot listen for DNS on {address}:{port}"))?;
        let bound = tcp.local_addr()?;
        match std::net::UdpSocket::bind(bound) {
            Ok(udp) => {
                tcp.set_nonblocking(true)?;
                udp.set_nonblocking(true)?;
                return Ok((Sockets { udp, tcp }, bound));
            }
            Err(error) => {
                attempts -= 1;
                if port != 0 || attempts == 0 {
                    return Err(error).with_context(|| format!("cannot listen for DNS on {bound}"));
                }
            }
        }
    }
}

/// Serves until the emulator stops.
pub(crate) fn serve(world: &Arc<World>, sockets: Sockets) -> anyhow::Result<()> {
    let udp = Arc::new(UdpSocket::from_std(sockets.udp)?);
    let tcp = TcpListener::from_std(sockets.tcp)?;
    let (over_udp, over_tcp) = (world.clone(), world.clone());
    let served = [
        tokio::spawn(async move {
            tokio::select! {
                () = datagrams(&over_udp, udp) => {}
                () = over_udp.stop.cancelled() => {}
            }
        }),
        tokio::spawn(async move {
            tokio::select! {
                () = connections(&over_tcp, tcp) => {}
                () = over_tcp.stop.cancelled() => {}
            }
        }),
    ];
    world
        .http
        .lock()
        .expect("no panic under lock")
        .extend(served);
    Ok(())
}

async fn datagrams(world: &Arc<World>, socket: Arc<UdpSocket>) {
    let limit = Arc::new(Semaphore::new(MOST_QUESTIONS));
    let mut buffer = vec![0; LARGEST_QUESTION];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            // A client that left is reported here; it is nobody else's concern.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // As any busy server: what is too much is lost, and asked again.
        let Ok(permit) = limit.clone().try_acquire_owned() else {
            continue;
        };
        let (world, socket, question) = (world.clone(), socket.clone(), buffer[..length].to_vec());
        tokio::spawn(async move {
            let _permit = permit;
            if let Reply::Message(answer) = reply(&world, &question, Transport::Udp).await {
                // The client may have left.
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

async fn connections(world: &Arc<World>, listener: TcpListener) {
    let limit = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let permit = limit.clone().acquire_owned().await.expect("never closed");
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let world = world.clone();
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                // A connection that ends early is the client's affair.
                _ = connection(&world, stream) => {}
                () = world.stop.cancelled() => {}
            }
        });
    }
}

/// Answers one client's questions, each with its length before it, until it has none for a while.
async fn connection(world: &World, mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let question = async {
            let length = stream.read_u16().await?;
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await?;
            std::io::Result::Ok(question)
        };
        let question = timeout(IDLE, question).await??;
        let Reply::Message(answer) = reply(world, &question, Transport::Tcp).await else {
            return timeout(IDLE, std::future::pending()).await?;
        };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

enum Reply {
    Message(Vec<u8>),
    /// Nothing is said.
    Silence,
}

async fn reply(world: &World, question: &[u8], transport: Transport) -> Reply {
    let Ok(request) = Message::from_vec(question) else {
        return Reply::Silence;
    };
    if request.metadata.message_type != MessageType::Query {
        return Reply::Silence;
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_DATAGRAM);
        response.set_edns(edns);
    }
    let refusal = match &request.queries[..] {
        _ if request.metadata.op_code != OpCode::Query => Some(ResponseCode::NotImp),
        [one] if one.query_class() == DNSClass::IN => None,
        [_] => Some(ResponseCode::Refused),
        _ => Some(ResponseCode::FormErr),
    };
    if let Some(code) = refusal {
        response.metadata.response_code = code;
        return encode(&response, &request, transport);
    }
    let asked = &request.queries[0];
    let name = key(&asked.name().to_ascii());
    let mut noted = DnsQuery {
        name: name.clone(),
        record_type: asked.query_type().to_string(),
        transport: if transport == Transport::Udp {
            "udp"
        } else {
            "tcp"
        },
        at: SystemTime::now(),
        answer: None,
    };
    let mut effect = world.faults.take_dns(&name);
    if let Some(Effect::Delay { milliseconds }) = effect {
        tokio::time::sleep(milliseconds).await;
        effect = None;
    }
    match effect {
        Some(Effect::Hang) => {
            world.dns.note(noted);
            return Reply::Silence;
        }
        Some(Effect::Truncate) if transport == Transport::Udp => {
            response.metadata.truncation = true
        }
        Some(Effect::DnsError { code }) => response.metadata.response_code = code_of(code),
        _ => {
            let find = |name: &str| world.dns.get(name).or_else(|| managed(world, name));
            let answer = zone::answer(find, &name, asked.query_type());
            response.metadata.response_code = answer.code;
            for (owner, record) in answer.records {
                // The question's own spelling comes back: some resolvers check it.
                let owner = if owner == name {
                    asked.name().clone()
                } else {
                    parse_name(&owner).expect("checked when it was set")
                };
                response.add_answer(Record::from_rdata(owner, 0, data(record)));
            }
        }
    }
    if response.answers.is_empty() {
        response.add_authority(authority());
    }
    noted.answer = Some(word(response.metadata.response_code));
    world.dns.note(noted);
    encode(&response, &request, transport)
}

/// The address of an instance's own name, which the service keeps in DNS.
fn managed(world: &World, name: &str) -> Option<Vec<DnsRecord>> {
    let instances = world.instances();
    let mut names = instances.iter().flat_map(|instance| instance.dns_names());
    let (_, address) = names.find(|(known, _)| key(known) == name)?;
    Some(vec![DnsRecord::address(address)])
}

fn encode(response: &Message, request: &Message, transport: Transport) -> Reply {
    let Ok(bytes) = response.to_vec() else {
        return Reply::Silence;
    };
    let fits = match transport {
        Transport::Udp => usize::from(request.max_payload().clamp(512, LARGEST_DATAGRAM)),
        Transport::Tcp => usize::from(u16::MAX),
    };
    if bytes.len() <= fits {
        return Reply::Message(bytes);
    }
    response
        .truncate()
        .to_vec()
        .map_or(Reply::Silence, Reply::Message)
}

fn data(record: DnsRecord) -> RData {
    match record {
        DnsRecord::A(address) => RData::A(A(address)),
        DnsRecord::Aaaa(address) => RData::AAAA(AAAA(address)),
        DnsRecord::Cname(target) => {
            RData::CNAME(CNAME(parse_name(&target).expect("checked when it was set")))
        }
        DnsRecord::Txt(strings) => RData::TXT(TXT::new(strings)),
    }
}

/// What an answer without records names as its authority; its times say not to remember it.
fn authority() -> Record {
    let name = |text| Name::from_ascii(text).expect("a constant");
    let soa = SOA::new(
        name("iamsql-emulator."),
        name("nobody.invalid."),
        1,
        3600,
        600,
        86400,
        0,
    );
    Record::from_rdata(Name::root(), 0, RData::SOA(soa))
}

fn code_of(code: DnsCode) -> ResponseCode {
    match code {
        DnsCode::ServerFailure => ResponseCode::ServFail,
        DnsCode::NoSuchName => ResponseCode::NXDomain,
        DnsCode::Refused => ResponseCode::Refused,
        DnsCode::NoData => ResponseCode::NoError,
    }
}

fn word(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_string(),
        ResponseCode::NXDomain => "NXDOMAIN".to_string(),
        ResponseCode::ServFail => "SERVFAIL".to_string(),
        ResponseCode::Refused => "REFUSED".to_string(),
        other => other.to_string(),
    }
}

const ATTEMPTS: usize = 64;
const MOST_QUESTIONS: usize = 256;
const MOST_CONNECTIONS: usize = 64;
const LARGEST_QUESTION: usize = 4096;
const LARGEST_DATAGRAM: u16 = 1232;
const IDLE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
