use std::future::poll_fn;
use std::os::fd::AsRawFd;

use http::Response as HttpResponse;
use reqwest::header::HeaderMap;
use tokio::io::DuplexStream;

use super::*;
use crate::control::passage::{Server, Unsupported};
use crate::data::descriptors::is_listed;

/// A call to a service that takes it, if it `answers`, and then says and reads nothing more.
async fn call(answers: bool) -> (Carrier, tokio::task::JoinHandle<()>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serving = tokio::spawn(serve(far, answers));
    let passage = Passage {
        server: Arc::new(Server {
            host: "localhost".to_owned(),
            port: 1,
            tls: None,
        }),
        headers: HeaderMap::new(),
        unsupported: Unsupported::default(),
    };
    let (upward, downward) = call::begin(near, &passage, "locations/r", "projects/p/instances/i")
        .await
        .unwrap();
    let carrier = Carrier {
        upward,
        downward,
        patience: Duration::from_secs(20),
        tether: None,
    };
    (carrier, serving)
}

/// Ends with the connection.
async fn serve(io: DuplexStream, answers: bool) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    let _open = match answers {
        true => Some(respond.send_response(HttpResponse::new(()), false).unwrap()),
        false => None,
    };
    let _ = poll_fn(|cx| connection.poll_closed(cx)).await;
    drop::<http::Request<h2::RecvStream>>(request);
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

async fn stall(driver: &mut UnixStream) {
    let endless = async { while driver.write_all(&[0; BLOCK]).await.is_ok() {} };
    let stalled = tokio::time::timeout(Duration::from_millis(500), endless).await;
    assert!(stalled.is_err(), "the service takes everything");
}

#[tokio::test]
async fn a_driver_that_leaves_while_the_service_stalls_leaves_nothing_behind() {
    for severs in [false, true] {
        let (mut carrier, serving) = call(true).await;
        let (tether, cutter) = Tether::new();
        carrier.tether = Some(tether);
        let (mut driver, mut local) = pair();
        let common = Common::new();
        let carrying = tokio::spawn(async move { carrier.carry(&mut local, &common).await });
        stall(&mut driver).await;
        assert!(!carrying.is_finished());
        let driver = match severs {
            true => {
                cutter.cut(&Error::new(ErrorKind::Closed, "elsewhere"));
                Some(driver)
            }
            false => {
                drop(driver);
                None
            }
        };
        let ended = tokio::time::timeout(GOODBYE * 3, carrying).await;
        assert!(matches!(ended.unwrap().unwrap(), Ok(Ended::Regularly)));
        tokio::time::timeout(GOODBYE * 3, serving)
            .await
            .expect("the connection is closed")
            .unwrap();
        drop(driver);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_answer_what_the_driver_said_is_given_up() {
    let (carrier, _serving) = call(false).await;
    let (mut driver, mut local) = pair();
    driver.write_all(b"hello").await.unwrap();
    let started = Instant::now();
    let ended = carrier.carry(&mut local, &Common::new()).await;
    let error = ended.err().expect("it was not answered");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_call_lasts_two_hours_whoever_is_silent() {
    for says in [&b""[..], b"hello"] {
        let (carrier, _serving) = call(true).await;
        let (mut driver, mut local) = pair();
        driver.write_all(says).await.unwrap();
        let started = Instant::now();
        let ended = carrier.carry(&mut local, &Common::new()).await;
        let error = ended.err().expect("it lasted too long");
        assert_eq!(error.kind(), ErrorKind::Network, "{error:?}");
        assert!(error.is_retryable());
        let hours = started.elapsed().as_secs_f64() / 3600.0;
        assert!((2.0..2.1).contains(&hours), "{hours}");
    }
}

#[tokio::test]
async fn both_sockets_of_a_tunnel_are_listed() {
    let (ours, _theirs) = StdUnixStream::pair().unwrap();
    let number = ours.as_raw_fd();
    let local = Local::new(ours).unwrap();
    assert!(is_listed(number));
    // The socket stays open, so that no other test's gets the number.
    drop(local._listed);
    assert!(!is_listed(number));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let number = tcp.as_raw_fd();
    let _socket = call::Socket::new(tcp);
    assert!(is_listed(number));
}
