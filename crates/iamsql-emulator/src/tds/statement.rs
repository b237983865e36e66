//! The statements that the stand-in answers: `SELECT` of constants, parameters and a few functions, `SET` of session
//! options, transactions that hold nothing, and `WAITFOR DELAY`. Everything else is refused by its name.

mod lexeme;

use std::time::Duration;

use self::lexeme::{Lexeme, lexemes};
use super::cell::Cell;

/// One statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Statement {
    /// Columns with their names.
    Select(Vec<(String, Expression)>),
    /// A session option, which changes nothing here.
    Set,
    Begin,
    Commit,
    Rollback,
    Wait(Duration),
}

/// One column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Constant(Cell),
    /// `@name`, in lower case.
    Parameter(String),
    /// `@@name`, `NAME` or `NAME()`, in lower case, with a text argument if it has one.
    Known(String, Option<String>),
    /// A conversion to text, or to a number.
    Cast(Box<Expression>, Target),
}

/// What a value is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Text,
    Integer,
}

/// Why a statement is not answered: SQL Server's number, its severity and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) number: i32,
    pub(super) severity: u8,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(number: i32, severity: u8, message: String) -> Self {
        Refusal {
            number,
            severity,
            message,
        }
    }

    fn syntax(near: &str) -> Self {
        Refusal::new(102, 15, format!("Incorrect syntax near '{near}'."))
    }

    fn unsupported(statement: &str) -> Self {
        let message = format!(
            "Statement '{statement}' is not supported in this version of SQL Server: it is the emulator's stand-in."
        );
        Refusal::new(40510, 16, message)
    }
}

/// Reads a batch.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, Refusal> {
    let mut parser = Parser {
        lexemes: lexemes(text).map_err(|near| Refusal::syntax(&near))?,
        at: 0,
    };
    let mut statements = Vec::new();
    loop {
        while parser.symbol(';') {}
        if parser.peek().is_none() {
            return Ok(statements);
        }
        statements.push(parser.statement()?);
    }
}

struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
}

impl Parser {
    fn statement(&mut self) -> Result<Statement, Refusal> {
        let word = self.any_word()?;
        match word.to_ascii_uppercase().as_str() {
            "SELECT" => self.select(),
            "SET" => self.set(),
            "BEGIN" if self.word("TRANSACTION") || self.word("TRAN") => Ok(Statement::Begin),
            "COMMIT" => {
                let _ = self.word("TRANSACTION") || self.word("TRAN") || self.word("WORK");
                Ok(Statement::Commit)
            }
            "ROLLBACK" => {
                let _ = self.word("TRANSACTION") || self.word("TRAN") || self.word("WORK");
                Ok(Statement::Rollback)
            }
            "WAITFOR" if self.word("DELAY") => self.wait(),
            other => Err(Refusal::unsupported(other)),
        }
    }

    fn select(&mut self) -> Result<Statement, Refusal> {
        let mut columns = Vec::new();
        loop {
            let expression = self.expression()?;
            let named = self.word("AS");
            let name = match self.peek().cloned() {
                Some(Lexeme::Name(name) | Lexeme::Text(name)) => {
                    self.at += 1;
                    name
                }
                Some(Lexeme::Word(word)) if named || !is_reserved(&word) => {
                    self.at += 1;
                    word
                }
                _ if named => return Err(self.unexpected()),
                _ => String::new(),
            };
            columns.push((name, expression));
            if !self.symbol(',') {
                break;
            }
        }
        match self.peek() {
            None | Some(Lexeme::Symbol(';')) => {}
            Some(Lexeme::Word(word)) if STATEMENTS.contains(&upper(word).as_str()) => {}
            Some(Lexeme::Word(word)) => {
                return Err(Refusal::unsupported(&format!("SELECT … {}", upper(word))));
            }
            Some(_) => return Err(self.unexpected()),
        }
        Ok(Statement::Select(columns))
    }

    fn expression(&mut self) -> Result<Expression, Refusal> {
        let negative = self.symbol('-');
        let Some(lexeme) = self.next() else {
            return Err(self.unexpected());
        };
        let constant = match lexeme {
            Lexeme::Number(digits) => number(&digits, negative)
                .ok_or_else(|| Refusal::unsupported(&format!("the number {digits}")))?,
            _ if negative => {
                self.at -= 1;
                return Err(self.unexpected());
            }
            Lexeme::Text(text) => Cell::text(&text),
            Lexeme::Symbol('(') => {
                let inner = self.expression()?;
                self.close()?;
                return Ok(inner);
            }
            Lexeme::Variable(name) => {
                let name = name.to_ascii_lowercase();
                return Ok(if name.starts_with("@@") {
                    Expression::Known(name, None)
                } else {
                    Expression::Parameter(name)
                });
            }
            Lexeme::Word(word) => return self.named(&word),
            Lexeme::Name(_) | Lexeme::Symbol(_) => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        };
        Ok(Expression::Constant(constant))
    }

    /// NULL, a function, or a conversion.
    fn named(&mut self, word: &str) -> Result<Expression, Refusal> {
        let name = word.to_ascii_lowercase();
        if name == "null" {
            return Ok(Expression::Constant(Cell::null()));
        }
        if !self.symbol('(') {
            return Ok(Expression::Known(name, None));
        }
        match name.as_str() {
            "cast" => {
                let inner = self.expression()?;
                if !self.word("AS") {
                    return Err(self.unexpected());
                }
                let target = self.target()?;
                self.close()?;
                Ok(Expression::Cast(Box::new(inner), target))
            }
            "convert" => {
                let target = self.target()?;
                if !self.symbol(',') {
                    return Err(self.unexpected());
                }
                let inner = self.expression()?;
                self.close()?;
                Ok(Expression::Cast(Box::new(inner), target))
            }
            _ => {
                let argument = match self.peek().cloned() {
                    Some(Lexeme::Text(text)) => {
                        self.at += 1;
                        Some(text)
                    }
                    _ => None,
                };
                self.close()?;
                Ok(Expression::Known(format!("{name}()"), argument))
            }
        }
    }

    /// A type, with its length if it has one.
    fn target(&mut self) -> Result<Target, Refusal> {
        let word = self.any_word()?;
        let target = match word.to_ascii_lowercase().as_str() {
            "int" | "bigint" | "smallint" | "tinyint" => Target::Integer,
            "nvarchar" | "varchar" | "nchar" | "char" | "sysname" => Target::Text,
            _ => {
                let message = format!("Type {word} is not a defined system type.");
                return Err(Refusal::new(243, 16, message));
            }
        };
        if self.symbol('(') {
            self.at += 1;
            self.close()?;
        }
        Ok(target)
    }

    fn set(&mut self) -> Result<Statement, Refusal> {
        let option = self.any_word()?;
        if !OPTIONS.contains(&upper(&option).as_str()) {
            return Err(Refusal::unsupported(&format!("SET {}", upper(&option))));
        }
        while let Some(lexeme) = self.peek() {
            match lexeme {
                Lexeme::Symbol(';') => break,
                Lexeme::Word(word) if STATEMENTS.contains(&upper(word).as_str()) => break,
                _ => self.at += 1,
            }
        }
        Ok(Statement::Set)
    }

    /// `'hh:mm:ss.mmm'`, of at most a minute.
    fn wait(&mut self) -> Result<Statement, Refusal> {
        let Some(Lexeme::Text(text)) = self.next() else {
            return Err(self.unexpected());
        };
        let seconds = text.split(':').try_fold(0.0, |sum: f64, part| {
            Some(sum * 60.0 + part.parse::<f64>().ok()?)
        });
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match time.filter(|time| *time <= LONGEST_WAIT) {
            Some(time) => Ok(Statement::Wait(time)),
            None => Err(Refusal::syntax(&text)),
        }
    }

    fn close(&mut self) -> Result<(), Refusal> {
        if self.symbol(')') {
            return Ok(());
        }
        Err(self.unexpected())
    }

    fn any_word(&mut self) -> Result<String, Refusal> {
        match self.next() {
            Some(Lexeme::Word(word)) => Ok(word),
            Some(_) => {
                self.at -= 1;
                Err(self.unexpected())
            }
            None => Err(self.unexpected()),
        }
    }

    fn word(&mut self, wanted: &str) -> bool {
        let found =
            matches!(self.peek(), Some(Lexeme::Word(word)) if word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(found);
        found
    }

    fn symbol(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(&Lexeme::Symbol(wanted));
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<&Lexeme> {
        self.lexemes.get(self.at)
    }

    fn next(&mut self) -> Option<Lexeme> {
        let lexeme = self.peek().cloned();
        self.at += usize::from(lexeme.is_some());
        lexeme
    }

    fn unexpected(&self) -> Refusal {
        let near = self.peek().or(self.lexemes.last());
        Refusal::syntax(&near.map_or_else(String::new, ToString::to_string))
    }
}

/// A whole number, or one with a point and at most nine digits.
fn number(text: &str, negative: bool) -> Option<Cell> {
    let sign = if negative { "-" } else { "" };
    let Some((whole, part)) = text.split_once('.') else {
        return Some(Cell::integer(format!("{sign}{text}").parse().ok()?));
    };
    let digits = format!("{whole}{part}");
    let precision = u8::try_from(digits.len()).ok()?;
    (1..=9).contains(&precision).then_some(())?;
    let scale = u8::try_from(part.len()).ok()?;
    Some(Cell::decimal(
        digits.parse().ok()?,
        negative,
        precision,
        scale,
    ))
}

fn upper(word: &str) -> String {
    word.to_ascii_uppercase()
}

fn is_reserved(word: &str) -> bool {
    let word = upper(word);
    STATEMENTS.contains(&word.as_str()) || CLAUSES.contains(&word.as_str())
}

/// The words that begin a statement, so that the one before it needs no semicolon.
const STATEMENTS: [&str; 16] = [
    "SELECT", "SET", "BEGIN", "COMMIT", "ROLLBACK", "WAITFOR", "INSERT", "UPDATE", "DELETE",
    "CREATE", "DROP", "ALTER", "EXEC", "EXECUTE", "DECLARE", "USE",
];
const CLAUSES: [&str; 9] = [
    "FROM", "WHERE", "UNION", "ORDER", "GROUP", "INTO", "FOR", "HAVING", "OPTION",
];
/// What drivers set.
const OPTIONS: [&str; 19] = [
    "ANSI_DEFAULTS",
    "ANSI_NULLS",
    "ANSI_NULL_DFLT_ON",
    "ANSI_PADDING",
    "ANSI_WARNINGS",
    "ARITHABORT",
    "CONCAT_NULL_YIELDS_NULL",
    "CURSOR_CLOSE_ON_COMMIT",
    "DATEFIRST",
    "DATEFORMAT",
    "IMPLICIT_TRANSACTIONS",
    "LANGUAGE",
    "LOCK_TIMEOUT",
    "NOCOUNT",
    "NUMERIC_ROUNDABORT",
    "QUOTED_IDENTIFIER",
    "TEXTSIZE",
    "TRANSACTION",
    "XACT_ABORT",
];
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
