//! One of Google's APIs: where it is, whom its calls are charged to, and how its answers are read.

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::control::admin::refusal::refusal;
use crate::control::credentials::Token;
use crate::control::endpoint::Endpoint;
use crate::control::http::patience::Patience;
use crate::control::http::{Answer, Call, Http, bearer};
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;

pub(super) struct Api {
    pub(super) service: &'static str,
    pub(super) http: Arc<Http>,
    pub(super) endpoint: Endpoint,
    pub(super) quota_project: Option<HeaderValue>,
}

impl Api {
    pub(super) async fn send(
        &self,
        call: Call,
        instance: &Instance,
        token: &Token,
        patience: &Patience,
    ) -> Result<Answer> {
        let mut call = call.header(AUTHORIZATION, bearer(token.secret())?);
        if let Some(project) = &self.quota_project {
            call = call.header(USER_PROJECT, project.clone());
        }
        self.http
            .call(&call, patience, &|answer| refusal(answer, instance))
            .await
    }

    pub(super) fn read<T: for<'a> Deserialize<'a>>(&self, answer: &Answer) -> Result<T> {
        serde_json::from_slice(&answer.body).map_err(|_| {
            Error::new(
                ErrorKind::Unavailable,
                format!("{} sent an answer that cannot be read", self.service),
            )
        })
    }
}

/// A name as a path segment.
pub(super) fn segment(name: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(name, SEGMENT)
}

const USER_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");
/// What may stand in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
