//! Every connection to port 3307, or AlloyDB's 5433, as the server saw it: who came, how far it got, and how it ended.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::instance::Product;
use crate::principal::{Principal, PrincipalKind};
use crate::server::client_protocol::ClientProtocol;
use crate::token::Token;
use crate::world::World;

/// The connections to all instances, in the order they were accepted. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<Vec<Arc<Mutex<Session>>>>>);

/// One connection to an instance's port 3307, or AlloyDB's 5433.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// Number of the connection, from 1, over all instances.
    pub id: u64,
    /// The instance dialled, `project:region:instance`.
    pub instance: String,
    /// The address dialled; tells the public from the private one.
    pub server: SocketAddr,
    /// Where the client came from.
    pub client: SocketAddr,
    /// When it was accepted.
    #[serde(with = "crate::session::epoch_seconds")]
    pub accepted: SystemTime,
    /// The server name of the ClientHello, if there was one.
    pub server_name: Option<String>,
    /// Whether a client certificate arrived, valid or not.
    pub certificate_seen: bool,
    /// Serial number of the client certificate, in lower-case hex.
    pub certificate: Option<String>,
    /// Whether the TLS handshake completed, client certificate included.
    pub authenticated: bool,
    /// Whose login token the certificate carries, or the metadata exchange brought.
    pub principal: Option<String>,
    /// The authentication type of an AlloyDB metadata exchange, `AUTO_IAM` or `DB_NATIVE`, if there was one.
    pub auth_type: Option<String>,
    /// The user agent that the metadata exchange told.
    pub user_agent: Option<String>,
    /// How the database's client reached the connector, as that declared in a metadata exchange.
    pub client_protocol: Option<ClientProtocol>,
    /// The database user that logged in.
    pub user: Option<String>,
    /// The database that it logged in to.
    pub database: Option<String>,
    /// Bytes of application data received; for [`Wire::Plaintext`](crate::Wire::Plaintext), bytes of any kind.
    pub received: u64,
    /// Bytes of application data sent.
    pub sent: u64,
    /// Whether it is still open.
    pub open: bool,
    /// Why it ended, if not by the client's choice.
    pub error: Option<String>,
}

impl Sessions {
    /// Every connection so far, the oldest first.
    pub fn all(&self) -> Vec<Session> {
        let sessions = self.0.lock().expect("no panic under lock");
        sessions
            .iter()
            .map(|session| session.lock().expect("no panic under lock").clone())
            .collect()
    }

    /// The connections to one instance, the oldest first.
    pub fn of(&self, instance: &str) -> Vec<Session> {
        self.all()
            .into_iter()
            .filter(|session| session.instance == instance)
            .collect()
    }

    /// How many connections to this instance are open now.
    pub fn open(&self, instance: &str) -> usize {
        self.of(instance)
            .iter()
            .filter(|session| session.open)
            .count()
    }

    /// Waits until the connections to `instance` satisfy `wanted`, at most `limit`; then says whether they do.
    pub async fn wait(
        &self,
        instance: &str,
        limit: Duration,
        wanted: impl Fn(&[Session]) -> bool,
    ) -> bool {
        let end = tokio::time::Instant::now() + limit;
        loop {
            if wanted(&self.of(instance)) {
                return true;
            }
            if tokio::time::Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Forgets the connections that have ended.
    pub fn forget_closed(&self) {
        let mut sessions = self.0.lock().expect("no panic under lock");
        sessions.retain(|session| session.lock().expect("no panic under lock").open);
    }

    pub(crate) fn opened(
        &self,
        id: u64,
        instance: &str,
        server: SocketAddr,
        client: SocketAddr,
    ) -> SessionHandle {
        let session = Arc::new(Mutex::new(Session {
            id,
            instance: instance.to_string(),
            server,
            client,
            accepted: SystemTime::now(),
            server_name: None,
            certificate_seen: false,
            certificate: None,
            authenticated: false,
            principal: None,
            auth_type: None,
            user_agent: None,
            client_protocol: None,
            user: None,
            database: None,
            received: 0,
            sent: 0,
            open: true,
            error: None,
        }));
        self.0
            .lock()
            .expect("no panic under lock")
            .push(session.clone());
        SessionHandle(Arc::new(Open(session)))
    }
}

/// Writes to one session's record; the record is closed when the last clone goes.
#[derive(Clone)]
pub(crate) struct SessionHandle(Arc<Open>);

struct Open(Arc<Mutex<Session>>);

impl SessionHandle {
    pub(crate) fn update(&self, change: impl FnOnce(&mut Session)) {
        change(&mut self.0.0.lock().expect("no panic under lock"));
    }

    /// Where the client came from.
    pub(crate) fn client(&self) -> SocketAddr {
        self.0.0.lock().expect("no panic under lock").client
    }

    /// Who logged in to which database, once the login succeeded.
    pub(crate) fn logged_in(&self, user: &str, database: &str) {
        self.update(|session| {
            session.user = Some(user.to_string());
            session.database = Some(database.to_string());
        });
    }

    /// Why the session ends.
    pub(crate) fn error(&self, reason: impl Into<String>) {
        self.update(|session| {
            session.error.get_or_insert(reason.into());
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Ok(mut session) = self.0.lock() {
            session.open = false;
        }
    }
}

/// What the TLS server knows about a client when it hands the connection to the database login.
#[derive(Clone)]
pub(crate) struct SessionIdentity {
    /// `project:region:instance`.
    pub(crate) instance: String,
    /// The session's record.
    pub(crate) handle: SessionHandle,
    /// What the certificate carries, or the metadata exchange brought.
    pub(crate) login: Login,
    /// Whose rules hold.
    pub(crate) product: Product,
    /// Whether nobody but the token's own user may log in, as AlloyDB has it.
    pub(crate) exclusive: bool,
    pub(crate) world: Arc<World>,
}

/// The login token of a client certificate.
#[derive(Clone)]
pub(crate) enum Login {
    /// The certificate was asked for without `access_token`: passwords only.
    Absent,
    /// The certificate carries something that this emulator did not issue.
    Unknown,
    /// The certificate carries a token that this emulator issued, valid or not.
    Token(Token),
}

/// Why the certificate's login token does not log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginRefusal {
    /// There is no token in the certificate.
    NoToken,
    /// The token is not one that the emulator issued.
    UnknownToken,
    /// The token's time has passed.
    Expired,
    /// The token was revoked.
    Revoked,
    /// The token lacks the scope `sqlservice.login`, or AlloyDB's.
    Scope,
    /// The instance's flag for IAM logins is off.
    InstanceFlag,
    /// The principal lacks the role that logs in.
    Role,
}

impl Login {
    /// Whether there is no token at all.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Login::Absent)
    }

    /// The e-mail address of the token's owner, if the certificate carries a token of ours.
    pub(crate) fn principal(&self) -> Option<&str> {
        match self {
            Login::Token(token) => Some(&token.principal),
            Login::Absent | Login::Unknown => None,
        }
    }
}

impl SessionIdentity {
    /// The database user whom the certificate's token logs in, were it valid.
    pub(crate) fn database_user(&self) -> Option<String> {
        self.login.principal().map(database_user)
    }

    /// Checks the certificate's token now: time, revocation, scope, the instance's flag, the principal's role.
    pub(crate) fn check(&self) -> Result<(), LoginRefusal> {
        match &self.login {
            Login::Absent => Err(LoginRefusal::NoToken),
            Login::Unknown => Err(LoginRefusal::UnknownToken),
            Login::Token(token) => self.check_token(token),
        }
    }

    /// Checks a token that came as a password, and names its owner's database user.
    pub(crate) fn check_password(&self, text: &str) -> Result<String, LoginRefusal> {
        Ok(database_user(&self.check_token_text(text)?))
    }

    /// Checks a token that came as a password, and names its owner.
    pub(crate) fn check_token_text(&self, text: &str) -> Result<String, LoginRefusal> {
        let token = self
            .world
            .tokens
            .find(text)
            .ok_or(LoginRefusal::UnknownToken)?;
        self.check_token(&token)?;
        Ok(token.principal)
    }

    fn check_token(&self, token: &Token) -> Result<(), LoginRefusal> {
        if !self
            .world
            .instance(&self.instance)
            .is_some_and(|instance| instance.spec().iam)
        {
            return Err(LoginRefusal::InstanceFlag);
        }
        if token.expires <= SystemTime::now() {
            return Err(LoginRefusal::Expired);
        }
        if self.world.tokens.is_revoked(token) {
            return Err(LoginRefusal::Revoked);
        }
        let scopes = self.product.login_scopes();
        if !scopes.iter().any(|scope| token.scopes.contains(*scope)) {
            return Err(LoginRefusal::Scope);
        }
        match self.world.principal(&token.principal) {
            Some(principal) if principal.has_role(self.product.login_role()) => Ok(()),
            _ => Err(LoginRefusal::Role),
        }
    }

    /// Which kind of IAM principal has this database user, if any; the others are built-in users.
    pub(crate) fn iam_user(&self, database_user: &str) -> Option<PrincipalKind> {
        self.world
            .principal_by_database_user(database_user)
            .map(|principal| principal.kind())
    }
}

fn database_user(principal: &str) -> String {
    Principal::human(principal).database_user().to_string()
}

pub(crate) mod epoch_seconds {
    use std::time::{SystemTime, UNIX_EPOCH};

    use serde::{Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &SystemTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64()
            .serialize(serializer)
    }
}

const POLL: Duration = Duration::from_millis(5);
