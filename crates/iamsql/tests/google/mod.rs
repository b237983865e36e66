//! Google's and AWS's services as far as tokens need them, scripted on a loopback port; every request is recorded.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(its, _)| its == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A field of a form.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        fields
            .find(|(its, _)| its == name)
            .map(|(_, value)| value.into_owned())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// What the request is for: the last part of its scope's URL.
    pub(crate) fn scope(&self) -> String {
        let scope = self.field("scope").unwrap_or_else(|| {
            let scope = self.json()["scope"][0].clone();
            scope.as_str().unwrap_or_default().to_owned()
        });
        scope.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn of(status: u16, body: impl ToString) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: body.to_string(),
        }
    }

    pub(crate) fn to(location: String, status: u16) -> Self {
        Reply {
            headers: vec![("location", location)],
            ..Reply::of(status, "")
        }
    }
}

type Script = Box<dyn FnMut(&Request) -> Option<Reply> + Send>;

/// A server that answers as Google would, unless its script says otherwise.
pub(crate) struct Google {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<Script>>,
}

impl Google {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let google = Google {
            url: format!("http://{}", listener.local_addr().unwrap()),
            requests: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(|_: &Request| None))),
        };
        let (requests, script) = (google.requests.clone(), google.script.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (requests, script) = (requests.clone(), script.clone());
                std::thread::spawn(move || serve(stream, &requests, &script));
            }
        });
        google
    }

    /// Answers first; where it gives `None`, the usual answer follows.
    pub(crate) fn script(&self, script: impl FnMut(&Request) -> Option<Reply> + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests whose path contains `part`.
    pub(crate) fn to(&self, part: &str) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.path.contains(part));
        requests
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub(crate) fn impersonation(&self, email: &str) -> String {
        self.at(&format!(
            "/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
        ))
    }
}

/// A port where nothing should arrive: what does is reported.
pub(crate) fn recorder() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, recorded) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                let mut bytes = vec![0; 4096];
                let count = stream.read(&mut bytes).unwrap_or(0);
                bytes.truncate(count);
                let _ = seen.send(bytes);
            });
        }
    });
    (url, recorded)
}

fn serve(stream: TcpStream, requests: &Mutex<Vec<Request>>, script: &Mutex<Script>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        requests.lock().unwrap().push(request.clone());
        let scripted = (script.lock().unwrap())(&request);
        let reply = scripted.unwrap_or_else(|| usual(&request));
        if write(&stream, &reply).is_none() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_ascii_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Request {
        method,
        path,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}

fn write(mut stream: &TcpStream, reply: &Reply) -> Option<()> {
    let mut head = format!(
        "HTTP/1.1 {} x\r\ncontent-length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(format!("{head}\r\n{}", reply.body).as_bytes())
        .ok()
}

fn usual(request: &Request) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let scope = request.scope();
    match (request.method.as_str(), path) {
        ("POST", "/v1/token") => Reply::of(
            200,
            json!({"access_token": format!("federated-{scope}"), "expires_in": 3600, "token_type": "Bearer",
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}),
        ),
        ("POST", "/token" | "/v1/oauthtoken") => Reply::of(
            200,
            json!({"access_token": format!("user-{scope}"), "expires_in": 3600}),
        ),
        ("POST", path) if path.ends_with(":generateAccessToken") => Reply::of(
            200,
            json!({"accessToken": format!("impersonated-{scope}"), "expireTime": "2099-01-01T00:00:00Z"}),
        ),
        ("PUT", "/latest/api/token") => Reply::of(200, "the-imds-session"),
        ("GET", "/latest/meta-data/placement/availability-zone") => Reply::of(200, "eu-west-3b"),
        ("GET", "/latest/meta-data/iam/security-credentials") => Reply::of(200, "the-role"),
        ("GET", "/latest/meta-data/iam/security-credentials/the-role") => Reply::of(
            200,
            json!({"Code": "Success", "AccessKeyId": "ASIAFROMROLE", "SecretAccessKey": "secret-of-the-role",
                "Token": "session-of-the-role"}),
        ),
        ("GET", "/subject") => Reply::of(200, json!({"value": "subject-by-url"})),
        ("GET", path) if path.ends_with("/connectSettings") => Reply::of(
            200,
            json!({"backendType": "SECOND_GEN", "region": "r", "databaseVersion": "POSTGRES_17",
                "ipAddresses": [{"type": "PRIMARY", "ipAddress": "127.0.0.1"}],
                "serverCaCert": {"cert": "-"}}),
        ),
        _ => Reply::of(404, ""),
    }
}
