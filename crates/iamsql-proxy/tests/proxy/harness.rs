//! The built proxy as a child process: its lines, its port, its end.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use std::io::{BufRead, BufReader, Read};

use iamsql_emulator::{Emulator, InstanceSpec};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

/// A running proxy; killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

/// How a proxy ended, and all that it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) text: String,
}

impl Proxy {
    /// Starts it with nothing in its environment but the emulator.
    pub(crate) fn start(emulator: &Emulator, arguments: &[&str]) -> Proxy {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iamsql-proxy"));
        command.args(arguments);
        Proxy::run(command, &[("IAMSQL_EMULATOR_HOST", emulator.host())])
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn ready(emulator: &Emulator, arguments: &[&str]) -> Proxy {
        let mut proxy = Proxy::start(emulator, arguments);
        proxy.wait_for("ready for new connections");
        proxy
    }

    pub(crate) fn run(mut command: Command, environment: &[(&str, &str)]) -> Proxy {
        command.env_clear().envs(environment.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the proxy starts");
        let (said, lines) = channel();
        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for stream in streams {
            let said = said.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    _ = said.send(line);
                }
            });
        }
        Proxy {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// The first line, from now on or before, that contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let patience = Instant::now() + PATIENCE;
        loop {
            let left = patience.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("never said {text:?}, but {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the proxy runs");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let patience = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None => assert!(
                    Instant::now() < patience,
                    "still running; said {:#?}",
                    self.seen
                ),
            }
            thread::sleep(Duration::from_millis(20));
        };
        self.seen.extend(self.lines.iter());
        Ended {
            status,
            text: self.seen.join("\n"),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        self.seen.extend(self.lines.iter());
        // For whoever reads a failure, and for the suite's search for secrets.
        println!("{}", self.seen.join("\n"));
    }
}

pub(crate) async fn emulator(spec: InstanceSpec) -> Emulator {
    Emulator::builder()
        .instance(spec)
        .start()
        .await
        .expect("the emulator starts")
}

/// A loopback port that is free: on the emulator's own address, where no other test listens.
pub(crate) fn free_port(emulator: &Emulator) -> SocketAddr {
    let host: SocketAddr = emulator.host().parse().unwrap();
    let probe = TcpListener::bind((host.ip(), 0)).unwrap();
    probe.local_addr().unwrap()
}

/// `--address` and `--port`, as arguments.
pub(crate) fn at(address: SocketAddr) -> [String; 2] {
    [
        format!("--address={}", address.ip()),
        format!("--port={}", address.port()),
    ]
}

pub(crate) fn is_free(address: impl Into<IpAddr>, port: u16) -> bool {
    TcpListener::bind((address.into(), port)).is_ok()
}

pub(crate) async fn client(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address)
        .await
        .expect("the proxy listens")
}

pub(crate) const INSTANCE: &str = "your-project-id:us-central1:demo-postgres";
/// Room for a busy machine; nothing here should take so long.
const PATIENCE: Duration = Duration::from_secs(40);
