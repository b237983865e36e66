use super::*;

fn columns(text: &str) -> Vec<(String, Expression)> {
    match &parse(text).unwrap()[..] {
        [Statement::Select(columns)] => columns.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn columns_are_read() {
    let known = |name: &str| Expression::Known(name.to_string(), None);
    let text = "SELECT 1, -2 AS two, N'it''s' [the text], @P1, @@VERSION v, SUSER_SNAME(), current_user; -- end";
    let expected = [
        ("", Expression::Constant(Cell::integer(1))),
        ("two", Expression::Constant(Cell::integer(-2))),
        ("the text", Expression::Constant(Cell::text("it's"))),
        ("", Expression::Parameter("@p1".to_string())),
        ("v", known("@@version")),
        ("", known("suser_sname()")),
        ("", known("current_user")),
    ];
    let expected = expected.map(|(name, expression)| (name.to_string(), expression));
    assert_eq!(columns(text), expected);
    assert_eq!(
        columns("select cast(@a as nvarchar(max))")[0].1,
        Expression::Cast(
            Box::new(Expression::Parameter("@a".to_string())),
            Target::Text
        )
    );
    assert_eq!(
        columns("SELECT 1.50")[0].1,
        Expression::Constant(Cell::decimal(150, false, 3, 2))
    );
}

#[test]
fn statements_need_no_semicolon() {
    let text = "set ansi_nulls on\nset transaction isolation level read committed SELECT NULL begin tran\
                /* nothing */ commit waitfor delay '00:00:01.5'";
    let statements = parse(text).unwrap();
    assert_eq!(statements.len(), 6);
    assert_eq!(statements[5], Statement::Wait(Duration::from_millis(1500)));
    assert_eq!(parse(" ;; ").unwrap(), []);
}

#[test]
fn what_is_not_answered_is_refused_by_its_name() {
    let cases = [
        ("CREATE TABLE t (a int)", 40510, "CREATE"),
        ("SELECT 1 FROM sys.tables", 40510, "FROM"),
        ("SELECT * FROM t", 102, "*"),
        ("SELECT 1 +", 102, "+"),
        ("SELECT", 102, "SELECT"),
        ("SELECT 'open", 102, "open"),
        ("SELECT (1", 102, "1"),
        ("SELECT -@a", 102, "@a"),
        ("SET ROWCOUNT 1", 40510, "ROWCOUNT"),
        ("BEGIN TRY", 40510, "BEGIN"),
        ("WAITFOR DELAY '02:00:00'", 102, "02:00:00"),
        ("SELECT CAST(1 AS money)", 243, "money"),
        ("1", 102, "1"),
    ];
    for (text, number, word) in cases {
        let refusal = parse(text).unwrap_err();
        assert_eq!(refusal.number, number, "{text}: {}", refusal.message);
        assert!(
            refusal.message.contains(word),
            "{text}: {}",
            refusal.message
        );
    }
}
