//! The Node-API addon behind the npm package `iamsql`: options in, engine calls, results and errors out.
//!
//! Its only caller is `node/src/*.ts`, which is the public API; `node/src/native.ts` lists what is exported here.

mod connector;
mod credentials;
mod error;
mod options;
mod pair;
mod runtime;
