//! `NativeGate` of `node/src/native.ts`: the engine's private listener, for a runtime whose sockets adopt no descriptor.

use std::sync::Arc;

use iamsql::PrivateListener;
use napi::Env;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;

use crate::error::{Outcome, finished, thrown};
use crate::runtime;

/// A path of our own that leads to an instance; each dial readies it for one client.
#[napi]
pub struct Gate(Arc<PrivateListener>);

impl From<PrivateListener> for Gate {
    fn from(listener: PrivateListener) -> Self {
        Gate(Arc::new(listener))
    }
}

#[napi]
impl Gate {
    /// Connects, then calls `done` with null or what went wrong. The connection waits ten seconds for its client.
    #[napi]
    pub fn dial(&self, env: Env, done: Function<'_, Outcome, ()>) -> napi::Result<()> {
        let done = done
            .build_threadsafe_function::<Outcome>()
            .weak::<true>()
            .build_callback(|call| Ok(call.value))?;
        let runtime = runtime::handle().map_err(|error| thrown(&env, &error))?;
        let listener = self.0.clone();
        let task = runtime.spawn(async move { listener.park().await });
        runtime.spawn(async move {
            let outcome = Outcome(finished(task).await.err());
            done.call(outcome, ThreadsafeFunctionCallMode::NonBlocking);
        });
        Ok(())
    }

    /// Where to connect to, checked anew.
    #[napi]
    pub fn path(&self, env: Env) -> napi::Result<String> {
        match self.0.socket_path() {
            Ok(path) => Ok(path.to_string_lossy().into_owned()),
            Err(error) => Err(thrown(&env, &error)),
        }
    }
}
