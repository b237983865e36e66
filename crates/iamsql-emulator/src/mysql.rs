//! MySQL's client/server protocol, as far as a login and a query without parameters go.
//!
//! ```text
//! server                          client
//! greeting (nonce, abilities) ──▶
//!                             ◀── response (user, proof by a plugin, database)
//! more questions, or OK or ERR ─▶                     password.rs says what a proof is
//! ```

pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod greeting;
pub(crate) mod packet;
pub(crate) mod password;
pub(crate) mod response;

/// Abilities of clients and servers, by their bits.
pub(crate) mod capability {
    pub(crate) const CONNECT_WITH_DATABASE: u32 = 1 << 3;
    pub(crate) const COMPRESS: u32 = 1 << 5;
    pub(crate) const PROTOCOL_41: u32 = 1 << 9;
    pub(crate) const TLS: u32 = 1 << 11;
    pub(crate) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(crate) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(crate) const CONNECT_ATTRIBUTES: u32 = 1 << 20;
    pub(crate) const LENGTH_ENCODED_PROOF: u32 = 1 << 21;
    pub(crate) const ZSTD_COMPRESS: u32 = 1 << 26;
}

/// The plugins that the emulator speaks, by the names that the protocol uses.
pub(crate) mod plugin {
    /// The default of MySQL 8.
    pub(crate) const CACHING_SHA2: &str = "caching_sha2_password";
    /// The default before, and MariaDB's.
    pub(crate) const NATIVE: &str = "mysql_native_password";
    /// The password as it is: how a token is asked for.
    pub(crate) const CLEAR: &str = "mysql_clear_password";
}
