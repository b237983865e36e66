//! The Node-API addon behind the npm package `iamsql`: options in, engine calls, results and errors out.
//!
//! Its only caller is `node/src/*.ts`, which is the public API; `node/src/native.ts` lists what is exported here.

mod connector;
mod credentials;
mod error;
mod options;
mod pair;
mod runtime;

use iamsql::ErrorKind;
use napi_derive::napi;

/// The code of every kind, for the test that `node/src/errors.ts` knows them all.
#[napi]
pub fn error_codes() -> Vec<&'static str> {
    ErrorKind::ALL.iter().map(|kind| kind.code()).collect()
}
