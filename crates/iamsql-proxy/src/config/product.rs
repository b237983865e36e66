//! Which official proxy's manners to take: by the program's name, a flag, or the first instance.

use std::path::Path;

pub(crate) use iamsql::Product;

/// What the program was called, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The last part of its path.
    pub(crate) name: String,
    /// The official proxy that it stands in for, if it is called like one.
    pub(crate) official: Option<Product>,
}

impl Program {
    /// Reads `argv[0]`.
    pub(crate) fn called(path: &str) -> Self {
        let name = Path::new(path).file_stem().map_or_else(
            || "iamsql-proxy".to_owned(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        let official = match name.as_str() {
            "cloud-sql-proxy" | "cloud_sql_proxy" => Some(Product::CloudSql),
            "alloydb-auth-proxy" => Some(Product::AlloyDb),
            _ => None,
        };
        Program { name, official }
    }
}

/// Reads `--product`.
pub(crate) fn product(text: &str) -> Result<Product, String> {
    match text {
        "cloud-sql" => Ok(Product::CloudSql),
        "alloydb" => Ok(Product::AlloyDb),
        _ => Err(format!("{text:?} is no product: want cloud-sql or alloydb")),
    }
}

pub(crate) fn product_name(product: Product) -> &'static str {
    match product {
        Product::AlloyDb => "alloydb",
        _ => "cloud-sql",
    }
}

/// What environment variables start with.
pub(crate) fn prefix(product: Product) -> &'static str {
    match product {
        Product::AlloyDb => "ALLOYDB_PROXY",
        _ => "CSQL_PROXY",
    }
}

/// What variables and file keys that name instances are called.
pub(crate) fn instances_key(product: Product) -> &'static str {
    match product {
        Product::AlloyDb => "instance-uri",
        _ => "instance-connection-name",
    }
}

/// The product of a name as it is spelled, before it is checked.
pub(crate) fn product_of(instance: &str) -> Product {
    match instance.trim_start_matches('/').starts_with("projects/") {
        true => Product::AlloyDb,
        false => Product::CloudSql,
    }
}
