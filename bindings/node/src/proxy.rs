//! `NativeProxy` of `node/src/native.ts`: the engine's local proxy.

use iamsql::LocalProxy;
use napi_derive::napi;

/// A Unix socket that leads to an instance, as long as this is not closed or collected.
#[napi]
pub struct Proxy(LocalProxy);

impl From<LocalProxy> for Proxy {
    fn from(proxy: LocalProxy) -> Self {
        Proxy(proxy)
    }
}

#[napi]
impl Proxy {
    /// Stops listening and removes the socket.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

/// `NativeListenOptions` in `node/src/native.ts`.
#[napi(object)]
pub struct NativeListenOptions {
    /// Where the socket is to be.
    pub path: String,
    /// Whether other users may read its file.
    pub readable_all: Option<bool>,
    /// Whether other users may connect.
    pub writable_all: Option<bool>,
}
