//! A DNS and an Admin API that say what a test tells them to.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use crate::control::names::lookup::Lookup;
use crate::control::names::resolution::InstanceNames;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) texts: Mutex<HashMap<String, Vec<String>>>,
    pub(crate) aliases: Mutex<HashMap<String, String>>,
    pub(crate) instances: Mutex<HashMap<String, Result<Instance>>>,
    pub(crate) addresses: Mutex<HashMap<String, Vec<IpAddr>>>,
    /// While set, nothing is answered.
    pub(crate) silent: Mutex<bool>,
    /// How long an answer takes.
    pub(crate) delay: Mutex<Duration>,
    pub(crate) questions: AtomicUsize,
}

impl Script {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn text(&self, name: &str, texts: &[&str]) -> &Self {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        self.texts.lock().unwrap().insert(name.to_owned(), texts);
        self
    }

    pub(crate) fn alias(&self, name: &str, target: &str) -> &Self {
        self.aliases
            .lock()
            .unwrap()
            .insert(name.to_owned(), target.to_owned());
        self
    }

    pub(crate) fn bears(&self, name: &str, instance: Result<Instance>) -> &Self {
        self.instances
            .lock()
            .unwrap()
            .insert(name.to_owned(), instance);
        self
    }

    pub(crate) fn silent(&self, silent: bool) {
        *self.silent.lock().unwrap() = silent;
    }

    pub(crate) fn asked(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }

    async fn answer<T>(&self, answer: impl FnOnce() -> T) -> Result<T> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        match *self.silent.lock().unwrap() {
            true => Err(Error::new(ErrorKind::Dns, "SERVFAIL")),
            false => Ok(answer()),
        }
    }
}

#[async_trait]
impl Lookup for Script {
    async fn texts(&self, name: &str) -> Result<Vec<String>> {
        let texts = || self.texts.lock().unwrap().get(name).cloned();
        self.answer(|| texts().unwrap_or_default()).await
    }

    async fn alias(&self, name: &str) -> Result<Option<String>> {
        self.answer(|| self.aliases.lock().unwrap().get(name).cloned())
            .await
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let addresses = || self.addresses.lock().unwrap().get(name).cloned();
        self.answer(|| addresses().unwrap_or_default()).await
    }
}

#[async_trait]
impl InstanceNames for Script {
    async fn instance_of(&self, region: &str, name: &str) -> Result<Instance> {
        assert!(name.contains(region));
        let instance = self.instances.lock().unwrap().get(name).cloned();
        instance.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::NotFound, "HTTP 404").with_http_status(404))
        })
    }
}
