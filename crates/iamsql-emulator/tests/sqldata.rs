//! The data service: database sessions inside gRPC streams.

use std::time::Duration;

use iamsql_emulator::{
    Edition, Effect, Emulator, Endpoint, Fault, InstanceSpec, Principal, Role, SERVICE_ACCOUNT,
};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

const ECHO: &str = "your-project-id:us-central1:tunnel";
const ADMIN: &[&str] = &["https://www.googleapis.com/auth/sqlservice.admin"];
const HOUR: Duration = Duration::from_secs(3600);

/// A request as bytes on the wire: field numbers and types written out, from the service's description.
#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(message, optional, tag = "5")]
    start: Option<Start>,
    #[prost(message, optional, tag = "6")]
    resume: Option<Start>,
    #[prost(message, optional, tag = "7")]
    data: Option<Data>,
    #[prost(message, optional, tag = "8")]
    terminate: Option<Terminate>,
}

#[derive(Clone, PartialEq, Message)]
struct Start {
    #[prost(string, tag = "1")]
    location: String,
    #[prost(string, tag = "2")]
    instance: String,
}

#[derive(Clone, PartialEq, Message)]
struct Data {
    #[prost(int64, tag = "1")]
    offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Ack {
    #[prost(int64, tag = "1")]
    received: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Terminate {
    #[prost(message, optional, tag = "1")]
    status: Option<Outcome>,
}

#[derive(Clone, PartialEq, Message)]
struct Outcome {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "2")]
    ack: Option<Ack>,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    data: Option<Data>,
    #[prost(message, optional, tag = "5")]
    terminate: Option<Terminate>,
}

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(int32, repeated, tag = "1")]
    features: Vec<i32>,
}

/// One session of a client.
struct Session {
    questions: mpsc::Sender<Question>,
    answers: Streaming<Answer>,
}

impl Session {
    async fn send(&self, offset: i64, data: &[u8]) {
        let data = data.to_vec();
        let question = Question {
            data: Some(Data { offset, data }),
            ..Question::default()
        };
        self.questions.send(question).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<Answer>, Status> {
        let next = timeout(Duration::from_secs(5), self.answers.message());
        next.await.expect("an answer in time")
    }
}

/// What a session is opened with.
#[derive(Clone)]
struct Opening {
    bearer: Option<String>,
    routing: String,
    first: Question,
}

fn opening(emulator: &Emulator, instance: &str) -> Opening {
    let (project, rest) = instance.split_once(':').unwrap();
    let (region, name) = rest.split_once(':').unwrap();
    let start = Start {
        location: format!("locations/{region}"),
        instance: format!("projects/{project}/instances/{name}"),
    };
    Opening {
        bearer: Some(emulator.access_token(SERVICE_ACCOUNT, ADMIN, HOUR).unwrap()),
        routing: format!(
            "instance_id={}&location_id={}",
            start.instance, start.location
        ),
        first: Question {
            start: Some(start),
            ..Question::default()
        },
    }
}

async fn channel(emulator: &Emulator) -> Channel {
    let information = emulator.information();
    let text = |name: &str| information[name].as_str().unwrap().to_string();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(text("ca")));
    Channel::from_shared(format!("https://{}", text("grpc")))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .unwrap()
}

async fn open(channel: &Channel, opening: Opening) -> Result<Session, Status> {
    let (questions, mut waiting) = mpsc::channel(4);
    questions.send(opening.first).await.unwrap();
    let waiting = futures_util::stream::poll_fn(move |context| waiting.poll_recv(context));
    let mut request = Request::new(waiting);
    let metadata = request.metadata_mut();
    if let Some(bearer) = opening.bearer {
        metadata.insert("authorization", format!("Bearer {bearer}").parse().unwrap());
    }
    metadata.insert("x-goog-request-params", opening.routing.parse().unwrap());
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/google.cloud.sql.v1beta4.SqlDataService/StreamSqlData");
    let codec = ProstCodec::<Question, Answer>::default();
    let answers = grpc.streaming(request, path, codec).await?.into_inner();
    Ok(Session { questions, answers })
}

async fn emulator() -> Emulator {
    let spec = InstanceSpec::echo(ECHO).edition(Edition::Developer);
    Emulator::builder().instance(spec).start().await.unwrap()
}

#[tokio::test]
async fn bytes_pass_both_ways_with_their_offsets() {
    let emulator = emulator().await;
    let channel = channel(&emulator).await;
    let mut session = open(&channel, opening(&emulator, ECHO)).await.unwrap();
    let first = session.next().await.unwrap().unwrap();
    assert_eq!(first.metadata, Some(Metadata { features: vec![] }));
    let mut sent = 0;
    for text in ["one", "two", "three"] {
        session.send(sent, text.as_bytes()).await;
        let answer = session.next().await.unwrap().unwrap();
        let data = answer.data.unwrap();
        assert_eq!((data.offset, &data.data[..]), (sent, text.as_bytes()));
        sent += text.len() as i64;
        assert_eq!(answer.ack, Some(Ack { received: sent }));
    }
    // Go's client leaves the offsets out.
    session.send(0, b"four").await;
    assert_eq!(
        session.next().await.unwrap().unwrap().data.unwrap().data,
        b"four"
    );
    let record = emulator.sessions().of(ECHO).remove(0);
    assert!(record.authenticated && record.certificate.is_none());
    assert_eq!(record.principal.as_deref(), Some(SERVICE_ACCOUNT));
    assert_eq!((record.received, record.sent), (15, 15));

    // A client that ends its half gets the rest, and then the reason.
    drop(session.questions);
    let end = timeout(Duration::from_secs(5), session.answers.message());
    let end = end.await.unwrap().unwrap().unwrap().terminate.unwrap();
    assert_eq!(end.status.unwrap().code, 0);
    let last = timeout(Duration::from_secs(5), session.answers.message());
    assert_eq!(last.await.unwrap().unwrap(), None);
    let closed = |sessions: &[iamsql_emulator::Session]| sessions.iter().all(|one| !one.open);
    assert!(
        emulator
            .sessions()
            .wait(ECHO, Duration::from_secs(5), closed)
            .await
    );
}

#[tokio::test]
async fn megabytes_pass_and_are_acknowledged() {
    let emulator = emulator().await;
    let channel = channel(&emulator).await;
    let mut session = open(&channel, opening(&emulator, ECHO)).await.unwrap();
    session.next().await.unwrap();
    let block = vec![7_u8; 1 << 20];
    let questions = session.questions.clone();
    let sender = tokio::spawn(async move {
        for index in 0..4 {
            let data = Data {
                offset: index << 20,
                data: block.clone(),
            };
            let question = Question {
                data: Some(data),
                ..Question::default()
            };
            questions.send(question).await.unwrap();
        }
    });
    let (mut echoed, mut acknowledged) = (0, 0);
    while echoed < 4 << 20 || acknowledged < 4 << 20 {
        let answer = session.next().await.unwrap().unwrap();
        acknowledged = acknowledged.max(answer.ack.unwrap().received);
        if let Some(data) = answer.data {
            assert_eq!(data.offset, echoed);
            echoed += data.data.len() as i64;
        }
    }
    sender.await.unwrap();
}

#[tokio::test]
async fn what_may_not_start_is_refused() {
    let emulator = emulator().await;
    let other = "your-project-id:us-central1:enterprise";
    emulator
        .add_instance(InstanceSpec::echo(other))
        .await
        .unwrap();
    let roleless = "roleless@your-project-id.iam.gserviceaccount.com";
    let principal = Principal::service_account(roleless).without_role(Role::CloudSqlClient);
    emulator.add_principal(principal).await.unwrap();
    let channel = channel(&emulator).await;
    let good = opening(&emulator, ECHO);
    let with = |change: &dyn Fn(&mut Opening)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let token =
        |principal: &str, scope: &str| emulator.access_token(principal, &[scope], HOUR).unwrap();
    let cases = [
        (
            with(&|one| one.bearer = None),
            Code::Unauthenticated,
            "missing",
        ),
        (
            with(&|one| one.bearer = Some("emulator-token-x".into())),
            Code::Unauthenticated,
            "invalid",
        ),
        (
            with(&|one| one.bearer = Some(token(SERVICE_ACCOUNT, "openid"))),
            Code::PermissionDenied,
            "scopes",
        ),
        (
            with(&|one| one.bearer = Some(token(roleless, ADMIN[0]))),
            Code::PermissionDenied,
            "not authorized",
        ),
        (
            with(&|one| one.routing = "instance_id=projects/p/instances/x".into()),
            Code::InvalidArgument,
            "x-goog-request-params",
        ),
        (
            with(&|one| one.first = Question::default()),
            Code::InvalidArgument,
            "StartSession",
        ),
        (
            with(&|one| one.first.resume = one.first.start.take()),
            Code::FailedPrecondition,
            "RECONNECT_FAILED",
        ),
        (
            opening(&emulator, "your-project-id:us-central1:absent"),
            Code::NotFound,
            "does not exist",
        ),
        (
            opening(&emulator, "your-project-id:europe-west1:tunnel"),
            Code::NotFound,
            "does not exist",
        ),
        (
            opening(&emulator, other),
            Code::FailedPrecondition,
            "unsupported instance edition: ENTERPRISE",
        ),
    ];
    for (opening, code, text) in cases {
        let refused = open(&channel, opening).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), code, "{text}: {refused}");
        assert!(refused.message().contains(text), "{text}: {refused}");
    }
    assert!(open(&channel, good).await.is_ok());
}

#[tokio::test]
async fn a_session_ends_as_the_faults_and_the_instance_say() {
    let emulator = emulator().await;
    let channel = channel(&emulator).await;
    let inject = |effect: Effect| {
        emulator.faults().inject(
            Fault::new(Endpoint::SqlData, effect)
                .instance(ECHO)
                .times(1),
        )
    };
    inject(Effect::status(429));
    let refused = open(&channel, opening(&emulator, ECHO))
        .await
        .map(|_| ())
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);

    inject(Effect::ResetAfter { bytes: 2 });
    let mut session = open(&channel, opening(&emulator, ECHO)).await.unwrap();
    session.next().await.unwrap();
    session.send(0, b"data").await;
    assert_eq!(
        session.next().await.unwrap().unwrap().data.unwrap().data,
        b"da"
    );
    assert_eq!(session.next().await.unwrap_err().code(), Code::Unavailable);

    let mut session = open(&channel, opening(&emulator, ECHO)).await.unwrap();
    session.next().await.unwrap();
    session.send(9, b"data").await;
    assert_eq!(
        session.next().await.unwrap_err().code(),
        Code::InvalidArgument
    );

    let mut session = open(&channel, opening(&emulator, ECHO)).await.unwrap();
    session.next().await.unwrap();
    emulator.disconnect(ECHO).unwrap();
    let end = session.next().await.unwrap().unwrap().terminate.unwrap();
    assert_eq!(end.status.unwrap().code, Code::Unavailable as i32);
}
