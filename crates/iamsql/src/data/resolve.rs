//! Which of an instance's addresses to dial.

use crate::control::{Address, Target};
use crate::error::{Detail, Error, ErrorKind, Result};
use crate::options::IpType;
use crate::secret::foreign;
use crate::user::DatabaseEngine;

/// The addresses of the type asked for, in the order to try them.
///
/// # Errors
/// [`ErrorKind::NotFound`] naming the types that the instance does have.
pub(crate) fn addresses(target: &Target, wanted: IpType) -> Result<Vec<&Address>> {
    let of_type = |ip_type: IpType| -> Vec<&Address> {
        target
            .addresses
            .iter()
            .filter(|(its_type, _)| *its_type == ip_type)
            .map(|(_, address)| address)
            .collect()
    };
    let found = match wanted {
        IpType::SqlData => {
            return Err(Error::config("ip_type SQL_DATA goes by no address"));
        }
        IpType::Auto => [IpType::Public, IpType::Private]
            .map(of_type)
            .into_iter()
            .find(|found| !found.is_empty())
            .unwrap_or_default(),
        one => of_type(one),
    };
    match found.is_empty() {
        true => Err(absent(target, wanted)),
        false => Ok(found),
    }
}

/// # Errors
/// [`ErrorKind::Config`] for an engine that the SqlData service does not carry.
pub(crate) fn check_tunnel(engine: Option<DatabaseEngine>) -> Result<()> {
    match engine {
        None | Some(DatabaseEngine::Postgres) => Ok(()),
        Some(_) => Err(Error::config("ip_type SQL_DATA reaches PostgreSQL alone")
            .with_advice("ask for ip_type AUTO")),
    }
}

fn absent(target: &Target, wanted: IpType) -> Error {
    let has: Vec<&str> = [IpType::Public, IpType::Private, IpType::Psc]
        .into_iter()
        .filter(|ip_type| {
            target
                .addresses
                .iter()
                .any(|(its_type, _)| its_type == ip_type)
        })
        .map(IpType::as_str)
        .collect();
    let error =
        |message| Error::new(ErrorKind::NotFound, message).with_detail(Detail::NoAddress(wanted));
    match has.first() {
        None => error("the instance has no address that can be dialled".to_owned())
            .with_advice("give the instance a public address, or a private one in your network"),
        Some(other) => error(format!(
            "the instance has no {} address, only {}",
            match wanted {
                IpType::Auto => "PUBLIC or PRIVATE",
                one => one.as_str(),
            },
            has.join(" and ")
        ))
        .with_advice(match *other {
            "PSC" => "ask for ip_type PSC".to_owned(),
            other => format!("ask for ip_type {other} (or AUTO)"),
        }),
    }
}

/// Refuses an instance that runs something else than the driver speaks.
///
/// # Errors
/// [`ErrorKind::Config`] naming both, and drivers that would do.
pub(crate) fn check_engine(target: &Target, driver: DatabaseEngine) -> Result<()> {
    let version = target.database_version.as_deref().unwrap_or_default();
    match DatabaseEngine::from_database_version(version) {
        Some(runs) if runs != driver => Err(Error::config(format!(
            "the instance runs {} ({}), and this driver speaks {}",
            runs.as_str(),
            foreign(version),
            driver.as_str()
        ))
        .with_advice(format!(
            "use a driver for {}: {}",
            runs.as_str(),
            runs.drivers()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing;

    #[test]
    fn each_type_finds_its_own_address_and_auto_prefers_the_public_one() {
        let both = testing::target_at(&[
            (IpType::Private, "10.20.0.3"),
            (IpType::Public, "203.0.113.9"),
        ]);
        for (wanted, address) in [
            (IpType::Public, "203.0.113.9"),
            (IpType::Private, "10.20.0.3"),
            (IpType::Auto, "203.0.113.9"),
        ] {
            assert_eq!(
                addresses(&both, wanted).unwrap(),
                [&Address::Ip(address.parse().unwrap())],
                "{wanted:?}"
            );
        }
        let private = testing::target_at(&[(IpType::Private, "10.20.0.3")]);
        assert_eq!(
            addresses(&private, IpType::Auto).unwrap(),
            [&Address::Ip("10.20.0.3".parse().unwrap())]
        );
    }

    #[test]
    fn an_absent_type_says_what_there_is_and_how_to_ask_for_it() {
        let private = testing::target_at(&[(IpType::Private, "10.20.0.3")]);
        let error = addresses(&private, IpType::Public).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "the instance has no PUBLIC address, only PRIVATE"
        );
        assert_eq!(error.advice(), Some("ask for ip_type PRIVATE (or AUTO)"));
        let none = addresses(&testing::target_at(&[]), IpType::Auto).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::NotFound);
    }
}
