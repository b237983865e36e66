//! The Node-API addon behind the npm package `iamsql`: options in, engine calls, results and errors out.
//!
//! Its only caller is `node/src/*.ts`, which is the public API; `node/src/native.ts` lists what is exported here.

mod connector;
mod credentials;
mod error;
mod gate;
mod options;
mod pair;
mod proxy;
mod runtime;
mod warnings;

use iamsql::ErrorKind;
use napi::bindgen_prelude::Function;
use napi_derive::napi;

/// The code of every kind, for the test that `node/src/errors.ts` knows them all.
#[napi]
pub fn error_codes() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| kind.code()).collect()
}

/// Calls `hear` with the text of each warning, unless an environment (a worker thread) that asked earlier is still there.
#[napi]
pub fn on_warning(hear: Function<'_, String, ()>) -> napi::Result<()> {
    warnings::tell(hear)
}
