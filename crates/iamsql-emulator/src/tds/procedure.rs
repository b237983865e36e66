//! A call of a procedure: which one, and its parameters.

use super::cell::{Cell, Cursor};
use super::login::text;

/// A call.
pub(super) struct Call {
    pub(super) procedure: Procedure,
    pub(super) parameters: Vec<Parameter>,
}

/// The procedures by which drivers run statements; all others are only named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Procedure {
    ExecuteSql,
    Prepare,
    Execute,
    PrepareAndExecute,
    Unprepare,
    Other(String),
}

/// A parameter as it came.
#[derive(Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) cell: Cell,
}

impl Call {
    /// Reads what follows the headers. `None` if it is none, or has a parameter of an unknown type.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut rest = Cursor(body);
        let procedure = match rest.u16()? {
            0xffff => match rest.u16()? {
                10 => Procedure::ExecuteSql,
                11 => Procedure::Prepare,
                12 => Procedure::Execute,
                13 => Procedure::PrepareAndExecute,
                15 => Procedure::Unprepare,
                number => Procedure::Other(format!("procedure {number}")),
            },
            count => Procedure::named(text(rest.take(2 * usize::from(count))?)),
        };
        rest.u16()?;
        let mut parameters = Vec::new();
        while !rest.0.is_empty() {
            let name = rest.short_text()?;
            rest.u8()?;
            let cell = rest.cell()?;
            parameters.push(Parameter { name, cell });
        }
        Some(Call {
            procedure,
            parameters,
        })
    }
}

impl Procedure {
    fn named(name: String) -> Self {
        let bare = name.to_ascii_lowercase().replace(['[', ']'], "");
        match bare.strip_prefix("sys.").unwrap_or(&bare) {
            "sp_executesql" => Procedure::ExecuteSql,
            "sp_prepare" => Procedure::Prepare,
            "sp_execute" => Procedure::Execute,
            "sp_prepexec" => Procedure::PrepareAndExecute,
            "sp_unprepare" => Procedure::Unprepare,
            _ => Procedure::Other(name),
        }
    }
}

/// The names in a declaration such as `@a int, @b decimal(10, 2)`.
pub(super) fn declared(text: &str) -> Vec<String> {
    let mut depth = 0;
    let pieces = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    pieces
        .filter_map(|piece| piece.split_whitespace().next())
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Gives values their names: their own, or those declared, in order.
pub(super) fn bound(declared: &[String], values: &[Parameter]) -> Vec<(String, Cell)> {
    let named = |(index, value): (usize, &Parameter)| {
        let name = value.name.to_ascii_lowercase();
        let name = Some(name).filter(|name| !name.is_empty());
        Some((
            name.or_else(|| declared.get(index).cloned())?,
            value.cell.clone(),
        ))
    };
    values.iter().enumerate().filter_map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_get_their_names() {
        let names = declared("@A int,@b decimal(10, 2), @c nvarchar(4000)");
        assert_eq!(names, ["@a", "@b", "@c"]);
        let value = |name: &str| Parameter {
            name: name.to_string(),
            cell: Cell::null(),
        };
        let bound = bound(&names, &[value(""), value("@C")]);
        assert_eq!((bound[0].0.as_str(), bound[1].0.as_str()), ("@a", "@c"));
    }

    #[test]
    fn a_call_is_read() {
        let mut body = vec![0xff, 0xff, 10, 0, 0, 0, 0, 0];
        body.extend(Cell::text("SELECT 1").info);
        body.extend(Cell::text("SELECT 1").value);
        let call = Call::parse(&body).unwrap();
        assert_eq!(call.procedure, Procedure::ExecuteSql);
        assert_eq!(
            call.parameters[0].cell.as_text().as_deref(),
            Some("SELECT 1")
        );
        assert!(Call::parse(&body[..body.len() - 1]).is_none());
        assert_eq!(
            Procedure::named("[sys].SP_Prepare".into()),
            Procedure::Prepare
        );
    }
}
