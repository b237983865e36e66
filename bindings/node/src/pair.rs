//! `NativePair` of `node/src/native.ts`: the engine's socket pair, its client end adopted by a socket of Node's.

use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{Function, Object};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;

use crate::error::{Outcome, finished, thrown, to_js};
use crate::runtime;

/// A lazily dialed connection.
#[napi]
pub struct Pair(Arc<iamsql::Pair>);

impl From<iamsql::Pair> for Pair {
    fn from(pair: iamsql::Pair) -> Self {
        Pair(Arc::new(pair))
    }
}

#[napi]
impl Pair {
    /// The client end, ours until [`Pair::adopted`]; null afterwards.
    #[napi(getter)]
    pub fn fd(&self) -> Option<i32> {
        self.0.client_fd()
    }

    /// The client end now belongs to a socket of Node's, which will close it.
    #[napi]
    pub fn adopted(&self) {
        self.0.adopted();
    }

    /// Connects, then calls `done` with null or what went wrong. Does not hold Node's event loop open.
    #[napi]
    pub fn dial(&self, env: Env, done: Function<'_, Outcome, ()>) -> napi::Result<()> {
        let done = done
            .build_threadsafe_function::<Outcome>()
            .weak::<true>()
            .build_callback(|call| Ok(call.value))?;
        let runtime = runtime::handle().map_err(|error| thrown(&env, &error))?;
        let pair = self.0.clone();
        let task = runtime.spawn(async move { pair.dial().await });
        runtime.spawn(async move {
            let outcome = Outcome(finished(task).await.err());
            done.call(outcome, ThreadsafeFunctionCallMode::NonBlocking);
        });
        Ok(())
    }

    /// Why the session ended, once the client end has read its end; null for an ordinary goodbye.
    #[napi]
    pub fn failure<'env>(&self, env: &'env Env) -> napi::Result<Option<Object<'env>>> {
        self.0.failure().map(|error| to_js(env, &error)).transpose()
    }

    /// Ends a dial in flight, and closes the client end if nobody adopted it.
    #[napi]
    pub fn abort(&self) {
        drop(self.0.take_client_fd());
        self.0.abort();
    }
}
