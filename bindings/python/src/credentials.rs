//! Where a Python caller's tokens come from: a file, JSON, fixed tokens, or an object that is called back for each.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use iamsql::{Error, ErrorKind, Scope, Secret, Token, TokenSource};
use pyo3::prelude::*;

/// Google credentials, as an argument of `Connector`. Shows nothing of what it holds and cannot be pickled.
#[pyclass(frozen, module = "iamsql._native")]
pub(crate) struct Credentials(pub(crate) iamsql::Credentials);

#[pymethods]
impl Credentials {
    /// Those in a JSON file, as `GOOGLE_APPLICATION_CREDENTIALS` names one.
    #[staticmethod]
    fn file(path: PathBuf) -> Self {
        Credentials(iamsql::Credentials::file(path))
    }

    /// Those in a JSON text.
    #[staticmethod]
    fn json(text: String) -> Self {
        Credentials(iamsql::Credentials::json(Secret::new(text)))
    }

    /// Application Default Credentials.
    #[staticmethod]
    #[pyo3(name = "default")]
    fn application_default() -> Self {
        Credentials(iamsql::Credentials::application_default())
    }

    /// Those of whoever `gcloud` is logged in as.
    #[staticmethod]
    fn gcloud() -> Self {
        Credentials(iamsql::Credentials::gcloud())
    }

    /// Those of the service account `target`, lent by it to whoever `base` are, over `delegates` in order.
    #[staticmethod]
    fn impersonate(base: PyRef<'_, Credentials>, target: String, delegates: Vec<String>) -> Self {
        Credentials(base.0.clone().impersonate(target, delegates))
    }

    /// Tokens made elsewhere: one for the Admin API, one for the login.
    #[staticmethod]
    #[pyo3(signature = (token, login_token=None))]
    fn tokens(token: String, login_token: Option<String>) -> Self {
        Credentials(iamsql::Credentials::token(
            Secret::new(token),
            login_token.map(Secret::new),
        ))
    }

    /// An object with `token(scope) -> (token, expiry, principal[, broad])` and `principal() -> str | None`.
    ///
    /// `scope` is the OAuth scope's URL; `expiry` is in seconds since 1970, or `None`. Called on a thread of the engine's own.
    #[staticmethod]
    fn source(source: Py<PyAny>) -> Self {
        let source = PythonSource(Arc::new(source));
        Credentials(iamsql::Credentials::source(Arc::new(source)))
    }

    fn __repr__(&self) -> &'static str {
        "Credentials([redacted])"
    }
}

struct PythonSource(Arc<Py<PyAny>>);

#[async_trait]
impl TokenSource for PythonSource {
    async fn token(&self, scope: Scope) -> iamsql::Result<Token> {
        self.call(move |source| {
            let answer = source.call_method1("token", (scope.url(),))?;
            let broad = answer.len()? == 4 && answer.get_item(3)?.is_truthy()?;
            let expiry: Option<f64> = answer.get_item(1)?.extract()?;
            let principal: Option<String> = answer.get_item(2)?.extract()?;
            let token: String = answer.get_item(0)?.extract()?;
            let mut token = Token::new(Secret::new(token));
            let expiry = expiry.and_then(|expiry| Duration::try_from_secs_f64(expiry).ok());
            if let Some(expires) = expiry.and_then(|expiry| UNIX_EPOCH.checked_add(expiry)) {
                token = token.expires_at(expires);
            }
            if let Some(principal) = principal {
                token = token.of_principal(principal);
            }
            if broad {
                token = token.broad();
            }
            Ok(token)
        })
        .await
    }

    async fn principal(&self) -> iamsql::Result<Option<String>> {
        self.call(|source| source.call_method0("principal")?.extract())
            .await
    }
}

impl PythonSource {
    /// Runs `ask` on a thread that may wait for the interpreter, with no context variables of any caller.
    async fn call<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T> + Send + 'static,
    ) -> iamsql::Result<T> {
        let source = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            Python::try_attach(|py| ask(source.bind(py)).map_err(|failure| refused(py, &failure)))
        })
        .await
        .ok()
        .flatten()
        .unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, "the interpreter is exiting")))
    }
}

fn refused(py: Python<'_>, failure: &PyErr) -> Error {
    let text = iamsql::foreign_text(&failure.value(py).to_string());
    let class = failure
        .get_type(py)
        .name()
        .map_or_else(|_| "exception".into(), |name| name.to_string());
    Error::new(
        ErrorKind::Credentials,
        format!("the credentials object raised {class}: {text}"),
    )
}
