//! The engine's results, as JavaScript promises, exceptions and callbacks that carry every field of an error.

use std::error::Error as _;
use std::future::Future;

use iamsql::{Detail, Error, ErrorKind, Result};
use napi::bindgen_prelude::{Object, ToNapiValue};
use napi::{Env, JsValue, Status};

use crate::runtime;

/// A promise of what `future` gives, run on our runtime. It holds Node's event loop open until settled.
pub(crate) fn promise<'env, T>(
    env: &'env Env,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> napi::Result<Object<'env>>
where
    T: ToNapiValue + Send + 'static,
{
    let runtime = runtime::handle().map_err(|error| thrown(env, &error))?;
    let (deferred, promise) = env.create_deferred::<T, Settle<T>>()?;
    let task = runtime.spawn(future);
    runtime.spawn(async move {
        let outcome = finished(task).await;
        deferred.resolve(Box::new(move |env| {
            outcome.map_err(|error| thrown(&env, &error))
        }));
    });
    Ok(promise)
}

/// The task's result; a panic is reported rather than leaving its caller waiting for ever.
pub(crate) async fn finished<T>(task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    task.await.unwrap_or_else(|cause| {
        Err(Error::new(ErrorKind::Unavailable, "the engine failed").with_source(cause))
    })
}

/// The argument of a callback: null, or what went wrong.
pub struct Outcome(pub(crate) Option<Error>);

impl ToNapiValue for Outcome {
    unsafe fn to_napi_value(
        env: napi::sys::napi_env,
        outcome: Self,
    ) -> napi::Result<napi::sys::napi_value> {
        let env = Env::from_raw(env);
        let object = outcome.0.map(|error| to_js(&env, &error)).transpose()?;
        // SAFETY: `env` is the environment that the caller is in, as this trait demands of it.
        unsafe { ToNapiValue::to_napi_value(env.raw(), object) }
    }
}

/// What a function of this addon returns to throw `error`.
pub(crate) fn thrown(env: &Env, error: &Error) -> napi::Error {
    match to_js(env, error) {
        Ok(object) => object.to_unknown().into(),
        Err(cause) => cause,
    }
}

/// `error` as a JavaScript `Error` with the fields of `Failure` in `node/src/errors.ts`.
pub(crate) fn to_js<'env>(env: &'env Env, error: &Error) -> napi::Result<Object<'env>> {
    let mut object =
        env.create_error(napi::Error::new(Status::GenericFailure, error.to_string()))?;
    object.set("code", error.code())?;
    object.set("chain", error.chain())?;
    object.set("causes", causes(error))?;
    object.set("retryable", error.is_retryable())?;
    object.set("advice", error.advice())?;
    object.set("instance", error.instance())?;
    object.set("httpStatus", error.http_status())?;
    object.set("errno", error.raw_os_error())?;
    object.set("ioKind", error.io_kind().map(|kind| format!("{kind:?}")))?;
    object.set("detail", error.detail().and_then(particulars))?;
    Ok(object)
}

fn causes(error: &Error) -> Vec<String> {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

/// The variant's name, then its fields in order.
fn particulars(detail: &Detail) -> Option<Vec<String>> {
    let list = match detail {
        Detail::MalformedName => vec!["malformedName".to_owned()],
        Detail::WrongRegion { named, actual } => {
            vec!["wrongRegion".to_owned(), named.clone(), actual.clone()]
        }
        Detail::NoAddress(asked) => {
            vec!["noAddress".to_owned(), asked.as_str().to_owned()]
        }
        Detail::WrongServer {
            presented,
            expected,
        } => vec![
            "wrongServer".to_owned(),
            presented.clone(),
            expected.clone(),
        ],
        _ => return None,
    };
    Some(list)
}

type Settle<T> = Box<dyn FnOnce(Env) -> napi::Result<T>>;
