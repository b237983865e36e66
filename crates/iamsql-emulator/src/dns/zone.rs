//! Looks a name up as a recursive resolver does: its records, or what its CNAMEs lead to.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::{DnsRecord, key};

/// What a question is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    /// Owner and record; the CNAMEs that led there come first.
    pub(super) records: Vec<(String, DnsRecord)>,
}

/// Answers a question about `name`, a key, from what `find` knows of each name.
pub(super) fn answer(
    find: impl Fn(&str) -> Option<Vec<DnsRecord>>,
    name: &str,
    wanted: RecordType,
) -> Answer {
    let mut records = Vec::new();
    let mut current = name.to_string();
    for _ in 0..LONGEST_CHAIN {
        let Some(here) = find(&current) else {
            return Answer {
                code: ResponseCode::NXDomain,
                records,
            };
        };
        let owned = |record| (current.clone(), record);
        let fits = |record: &DnsRecord| wanted == RecordType::ANY || kind(record) == wanted;
        if let [DnsRecord::Cname(target)] = &here[..]
            && !fits(&here[0])
        {
            let next = key(target);
            records.push(owned(here[0].clone()));
            current = next;
            continue;
        }
        records.extend(here.into_iter().filter(fits).map(owned));
        return Answer {
            code: ResponseCode::NoError,
            records,
        };
    }
    // A loop, which resolvers give up.
    Answer {
        code: ResponseCode::ServFail,
        records: Vec::new(),
    }
}

fn kind(record: &DnsRecord) -> RecordType {
    match record {
        DnsRecord::A(_) => RecordType::A,
        DnsRecord::Aaaa(_) => RecordType::AAAA,
        DnsRecord::Cname(_) => RecordType::CNAME,
        DnsRecord::Txt(_) => RecordType::TXT,
    }
}

const LONGEST_CHAIN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> Option<Vec<DnsRecord>> {
        let cname = |target: &str| vec![DnsRecord::Cname(target.to_string())];
        match name {
            "db.example" => Some(vec![
                DnsRecord::txt("p:r:i"),
                DnsRecord::A([127, 1, 1, 1].into()),
            ]),
            "alias.example" => Some(cname("DB.example.")),
            "far.example" => Some(cname("alias.example")),
            "dangling.example" => Some(cname("gone.example")),
            "a.loop" => Some(cname("b.loop")),
            "b.loop" => Some(cname("a.loop")),
            _ => None,
        }
    }

    fn owners(name: &str, wanted: RecordType) -> (ResponseCode, Vec<String>) {
        let answer = answer(find, name, wanted);
        let owners = answer.records.into_iter().map(|(owner, _)| owner);
        (answer.code, owners.collect())
    }

    #[test]
    fn cnames_are_followed_unless_asked_for() {
        use ResponseCode::{NXDomain, NoError, ServFail};
        let cases: [(&str, RecordType, ResponseCode, &[&str]); 9] = [
            ("db.example", RecordType::TXT, NoError, &["db.example"]),
            ("db.example", RecordType::AAAA, NoError, &[]),
            (
                "db.example",
                RecordType::ANY,
                NoError,
                &["db.example", "db.example"],
            ),
            (
                "far.example",
                RecordType::A,
                NoError,
                &["far.example", "alias.example", "db.example"],
            ),
            ("far.example", RecordType::CNAME, NoError, &["far.example"]),
            (
                "dangling.example",
                RecordType::TXT,
                NXDomain,
                &["dangling.example"],
            ),
            ("gone.example", RecordType::TXT, NXDomain, &[]),
            ("a.loop", RecordType::A, ServFail, &[]),
            ("a.loop", RecordType::CNAME, NoError, &["a.loop"]),
        ];
        for (name, wanted, code, expected) in cases {
            let (got, got_owners) = owners(name, wanted);
            assert_eq!(
                (got, got_owners),
                (code, expected.iter().map(ToString::to_string).collect()),
                "{name} {wanted}"
            );
        }
    }
}
