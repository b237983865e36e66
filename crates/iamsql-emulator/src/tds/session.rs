//! What one client is logged in as, and its answers.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::Server;
use super::cell::{COLLATION, Cell, Cursor};
use super::login::{Login, text};
use super::packet::{Kind, Message, Wire};
use super::procedure::{Call, Parameter, Procedure, bound, declared};
use super::statement::{Expression, Refusal, Statement, Target, parse};
use super::token::{self, Tokens};

/// A session.
pub(super) struct Session {
    user: String,
    database: String,
    host: String,
    application: String,
    server: String,
    /// How many transactions are open, and the descriptor of the outermost.
    transactions: u32,
    descriptor: u64,
    /// Prepared statements: the names of their parameters, and their text.
    prepared: HashMap<i64, (Vec<String>, String)>,
    last_handle: i64,
}

/// Where statements come from, which decides how they end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Batch,
    Procedure,
}

/// Why statements were not all run.
enum Stop {
    Refused(Refusal),
    Attention,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl Session {
    pub(super) fn new(server: &Server, login: &Login, database: &str) -> Self {
        Session {
            user: login.user.clone(),
            database: database.to_string(),
            host: login.host.clone(),
            application: login.application.clone(),
            server: server.name.clone(),
            transactions: 0,
            descriptor: 0,
            prepared: HashMap::new(),
            last_handle: 0,
        }
    }

    /// What a client reads after its login.
    pub(super) fn greet(&self, tokens: &mut Tokens, login: &Login) {
        tokens.changed_text(DATABASE, &self.database, "master");
        let message = format!("Changed database context to '{}'.", self.database);
        tokens.info(5701, &message);
        tokens.changed_bytes(SQL_COLLATION, &COLLATION, &[]);
        tokens.changed_text(LANGUAGE, "us_english", "");
        tokens.info(5703, "Changed language setting to us_english.");
        tokens.login(login.version, "Microsoft SQL Server");
        tokens.changed_text(PACKET_SIZE, &login.packet_size().to_string(), "4096");
        tokens.done(0, 0);
    }

    /// Answers one message.
    pub(super) async fn answer<S>(&mut self, wire: &mut Wire<S>, message: Message) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut tokens = Tokens::default();
        if message.reset {
            self.transactions = 0;
            self.prepared.clear();
            tokens.changed_bytes(RESET, &[], &[]);
        }
        match message.kind {
            _ if message.ignored => tokens.done(token::ERROR, 0),
            Kind::Attention => tokens.done(token::ATTENTION, 0),
            Kind::Batch => {
                let body = without_headers(&message.body).ok_or(io::ErrorKind::InvalidData)?;
                let ran = self
                    .run(wire, &mut tokens, &text(body), &[], Origin::Batch)
                    .await?;
                end(wire, &mut tokens, ran, Origin::Batch).await?;
            }
            Kind::Procedure => {
                let body = without_headers(&message.body).ok_or(io::ErrorKind::InvalidData)?;
                let ran = match Call::parse(body) {
                    Some(call) => self.call(wire, &mut tokens, &call).await?,
                    None => {
                        let message = "A parameter has a type that the stand-in does not know.";
                        Err(Refusal::new(8009, 16, message.to_string()).into())
                    }
                };
                end(wire, &mut tokens, ran, Origin::Procedure).await?;
            }
            Kind::Transaction => {
                let body = without_headers(&message.body).ok_or(io::ErrorKind::InvalidData)?;
                let ran = self.manage(&mut tokens, body).map_err(Stop::from);
                if ran.is_ok() {
                    tokens.done(0, 0);
                }
                end(wire, &mut tokens, ran, Origin::Batch).await?;
            }
            Kind::Other => {
                tokens.error(40510, 16, "The stand-in for SQL Server has no bulk load.");
                tokens.done(token::ERROR, 0);
            }
            Kind::Login | Kind::PreLogin => return Err(io::ErrorKind::InvalidData.into()),
        }
        wire.send(&tokens.take()).await
    }

    /// Runs statements; what they answer goes to `tokens`.
    async fn run<S>(
        &mut self,
        wire: &mut Wire<S>,
        tokens: &mut Tokens,
        text: &str,
        parameters: &[(String, Cell)],
        origin: Origin,
    ) -> io::Result<Result<(), Stop>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let statements = match parse(text) {
            Ok(statements) => statements,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let count = statements.len();
        for (index, statement) in statements.into_iter().enumerate() {
            let mut rows = 0;
            let ran = match statement {
                Statement::Select(columns) => {
                    let cells = columns.into_iter().map(|(name, expression)| {
                        Ok((name, self.evaluate(&expression, parameters)?))
                    });
                    let cells: Result<Vec<_>, Refusal> = cells.collect();
                    rows = 1;
                    cells.map(|cells| tokens.row(&cells))
                }
                Statement::Set => Ok(()),
                Statement::Begin => {
                    self.begin(tokens);
                    Ok(())
                }
                Statement::Commit => self.finish(tokens, COMMITTED),
                Statement::Rollback => self.finish(tokens, ROLLED_BACK),
                Statement::Wait(time) => {
                    if attention(wire, time).await? {
                        return Ok(Err(Stop::Attention));
                    }
                    Ok(())
                }
            };
            if let Err(refusal) = ran {
                return Ok(Err(refusal.into()));
            }
            let counted = if rows > 0 { token::COUNT } else { 0 };
            match origin {
                Origin::Procedure => tokens.done_inside(counted | token::MORE, rows),
                Origin::Batch if index + 1 < count => tokens.done(counted | token::MORE, rows),
                Origin::Batch => tokens.done(counted, rows),
            }
        }
        if count == 0 && origin == Origin::Batch {
            tokens.done(0, 0);
        }
        Ok(Ok(()))
    }

    async fn call<S>(
        &mut self,
        wire: &mut Wire<S>,
        tokens: &mut Tokens,
        call: &Call,
    ) -> io::Result<Result<(), Stop>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let given = &call.parameters;
        let said = |index: usize| given.get(index).and_then(|one| one.cell.as_text());
        let handle = given.first().and_then(|one| one.cell.as_integer());
        let mut output = None;
        let (names, text, values): (Vec<String>, String, &[Parameter]) = match &call.procedure {
            Procedure::ExecuteSql => {
                let names = declared(&said(1).unwrap_or_default());
                let values = given.get(2..).unwrap_or_default();
                (names, said(0).unwrap_or_default(), values)
            }
            Procedure::Prepare | Procedure::PrepareAndExecute => {
                let names = declared(&said(1).unwrap_or_default());
                let text = said(2).unwrap_or_default();
                if let Err(refusal) = parse(&text) {
                    return Ok(Err(refusal.into()));
                }
                self.last_handle += 1;
                let kept = (names.clone(), text.clone());
                self.prepared.insert(self.last_handle, kept);
                output = given
                    .first()
                    .map(|one| (one.name.clone(), self.last_handle));
                if call.procedure == Procedure::Prepare {
                    (Vec::new(), String::new(), &[])
                } else {
                    (names, text, given.get(3..).unwrap_or_default())
                }
            }
            Procedure::Execute => match handle.and_then(|handle| self.prepared.get(&handle)) {
                Some((names, text)) => {
                    let values = given.get(1..).unwrap_or_default();
                    (names.clone(), text.clone(), values)
                }
                None => return Ok(Err(unknown_handle(handle).into())),
            },
            Procedure::Unprepare => match handle.and_then(|handle| self.prepared.remove(&handle)) {
                Some(_) => (Vec::new(), String::new(), &[]),
                None => return Ok(Err(unknown_handle(handle).into())),
            },
            Procedure::Other(name) => {
                let name: String = name.chars().take(128).collect();
                let message = format!("Could not find stored procedure '{name}'.");
                return Ok(Err(Refusal::new(2812, 16, message).into()));
            }
        };
        let parameters = bound(&names, values);
        let ran = self
            .run(wire, tokens, &text, &parameters, Origin::Procedure)
            .await?;
        if ran.is_ok() {
            tokens.return_status(0);
            if let Some((name, handle)) = output {
                tokens.return_value(0, &name, &Cell::integer(handle));
            }
            tokens.done_procedure(0);
        }
        Ok(ran)
    }

    /// A transaction manager's request, by which drivers begin and end transactions.
    fn manage(&mut self, tokens: &mut Tokens, body: &[u8]) -> Result<(), Refusal> {
        let mut rest = Cursor(body);
        let refused = || Refusal::new(40510, 16, "Only local transactions are supported.".into());
        match rest.u16() {
            Some(5) => self.begin(tokens),
            Some(request @ (7 | 8)) => {
                let ended = if request == 7 { COMMITTED } else { ROLLED_BACK };
                self.finish(tokens, ended)?;
                let name = rest.u8().unwrap_or(0);
                let again = rest.take(usize::from(name)).and_then(|_| rest.u8());
                if again.unwrap_or(0) & 1 != 0 {
                    self.begin(tokens);
                }
            }
            // A savepoint of nothing.
            Some(9) if self.transactions > 0 => {}
            _ => return Err(refused()),
        }
        Ok(())
    }

    fn begin(&mut self, tokens: &mut Tokens) {
        self.transactions += 1;
        if self.transactions == 1 {
            self.descriptor += 1;
            tokens.changed_bytes(BEGUN, &self.descriptor.to_le_bytes(), &[]);
        }
    }

    fn finish(&mut self, tokens: &mut Tokens, how: u8) -> Result<(), Refusal> {
        let (number, verb) = if how == COMMITTED {
            (3902, "COMMIT")
        } else {
            (3903, "ROLLBACK")
        };
        if self.transactions == 0 {
            let message =
                format!("The {verb} TRANSACTION request has no corresponding BEGIN TRANSACTION.");
            return Err(Refusal::new(number, 16, message));
        }
        self.transactions = if how == COMMITTED {
            self.transactions - 1
        } else {
            0
        };
        if self.transactions == 0 {
            tokens.changed_bytes(how, &[], &self.descriptor.to_le_bytes());
        }
        Ok(())
    }

    fn evaluate(
        &self,
        expression: &Expression,
        parameters: &[(String, Cell)],
    ) -> Result<Cell, Refusal> {
        match expression {
            Expression::Constant(cell) => Ok(cell.clone()),
            Expression::Parameter(name) => parameters
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, cell)| cell.clone())
                .ok_or_else(|| {
                    let message = format!("Must declare the scalar variable \"{name}\".");
                    Refusal::new(137, 15, message)
                }),
            Expression::Known(name, argument) => self.known(name, argument.as_deref()),
            Expression::Cast(inner, target) => {
                let cell = self.evaluate(inner, parameters)?;
                cast(&cell, *target)
            }
        }
    }

    /// The values that the session has names for.
    fn known(&self, name: &str, argument: Option<&str>) -> Result<Cell, Refusal> {
        Ok(match (name, argument) {
            ("@@version", None) => Cell::text(VERSION),
            ("@@servername", None) => Cell::text(&self.server),
            ("@@trancount", None) => Cell::integer(self.transactions.into()),
            ("@@language", None) => Cell::text("us_english"),
            (
                "current_user" | "session_user" | "system_user" | "user" | "user_name()"
                | "suser_sname()" | "suser_name()" | "original_login()",
                None,
            ) => Cell::text(&self.user),
            ("db_name()", None) => Cell::text(&self.database),
            ("schema_name()", None) => Cell::text("dbo"),
            ("host_name()", None) => Cell::text(&self.host),
            ("app_name()", None) => Cell::text(&self.application),
            ("serverproperty()", Some(property)) => match property.to_ascii_lowercase().as_str() {
                "productversion" => Cell::text("16.0.0.0"),
                "edition" => Cell::text(VERSION),
                _ => Cell::null(),
            },
            _ if name.starts_with("@@") => {
                let message = format!("Must declare the scalar variable \"{name}\".");
                return Err(Refusal::new(137, 15, message));
            }
            _ if name.ends_with("()") => {
                let name = name.trim_end_matches("()");
                let message = format!("'{name}' is not a recognized built-in function name.");
                return Err(Refusal::new(195, 15, message));
            }
            _ => {
                return Err(Refusal::new(
                    207,
                    16,
                    format!("Invalid column name '{name}'."),
                ));
            }
        })
    }
}

/// How a message ends when not all of it was run.
async fn end<S>(
    wire: &mut Wire<S>,
    tokens: &mut Tokens,
    ran: Result<(), Stop>,
    origin: Origin,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Err(stop) = ran else {
        return Ok(());
    };
    if let Stop::Refused(refusal) = &stop {
        tokens.error(refusal.number, refusal.severity, &refusal.message);
    }
    match origin {
        Origin::Batch => tokens.done(token::ERROR, 0),
        Origin::Procedure => tokens.done_procedure(token::ERROR),
    }
    if let Stop::Attention = stop {
        // What was cut short is one answer, the acknowledgement another.
        wire.send(&tokens.take()).await?;
        tokens.done(token::ATTENTION, 0);
    }
    Ok(())
}

/// Waits, unless the client calls for attention first, and says whether it did.
async fn attention<S>(wire: &mut Wire<S>, time: Duration) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(false),
        message = wire.receive() => match message? {
            Some(message) if message.kind == Kind::Attention => Ok(true),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        },
    }
}

fn cast(cell: &Cell, target: Target) -> Result<Cell, Refusal> {
    let (number, text) = (cell.as_integer(), cell.as_text());
    match (target, number, text) {
        (Target::Text, Some(number), _) => Ok(Cell::text(&number.to_string())),
        (Target::Text, None, Some(text)) => Ok(Cell::text(&text)),
        (Target::Integer, Some(number), _) => Ok(Cell::integer(number)),
        (Target::Integer, None, Some(text)) => match text.trim().parse() {
            Ok(number) => Ok(Cell::integer(number)),
            Err(_) => {
                let text: String = text.chars().take(80).collect();
                let message = format!(
                    "Conversion failed when converting the nvarchar value '{text}' to data type int."
                );
                Err(Refusal::new(245, 16, message))
            }
        },
        _ if *cell == Cell::null() => Ok(Cell::null()),
        _ => {
            let message = "The stand-in converts only between numbers and text.".to_string();
            Err(Refusal::new(529, 16, message))
        }
    }
}

fn unknown_handle(handle: Option<i64>) -> Refusal {
    let handle = handle.unwrap_or_default();
    let message = format!("Could not find prepared statement with handle {handle}.");
    Refusal::new(8179, 16, message)
}

/// What follows the headers that every request since 7.2 begins with.
fn without_headers(body: &[u8]) -> Option<&[u8]> {
    let length = Cursor(body).u32()?;
    (length >= 4).then(|| body.get(length as usize..)).flatten()
}

const VERSION: &str = "iamsql-emulator's stand-in for SQL Server";
const DATABASE: u8 = 1;
const LANGUAGE: u8 = 2;
const PACKET_SIZE: u8 = 4;
const SQL_COLLATION: u8 = 7;
const BEGUN: u8 = 8;
const COMMITTED: u8 = 9;
const ROLLED_BACK: u8 = 10;
const RESET: u8 = 18;
