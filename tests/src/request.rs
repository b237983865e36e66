//! What a client is asked to do, the same for every door: it crosses to the client as one line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One connect, login and query.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Request {
    /// The instance connection name, right or wrong.
    pub instance: String,
    /// The driver, where the scenario is about an unknown one; else the door's own.
    pub driver: Option<String>,
    /// The database user, if the application names one.
    pub user: Option<String>,
    /// The password, if the application has one.
    pub password: Option<String>,
    /// IAM login: on, off, or not said.
    pub iam: Option<bool>,
    /// The address type, if said.
    pub ip_type: Option<String>,
    /// The connect deadline in seconds, if said.
    pub timeout: Option<f64>,
    /// The Admin API, where the environment does not name the emulator.
    pub admin_endpoint: Option<String>,
    /// Variables of the client's environment, beside PATH and its private directories.
    #[serde(skip)]
    pub environment: BTreeMap<String, String>,
}

impl Request {
    /// A login to this instance as whoever the environment says the client is.
    pub fn to(instance: impl Into<String>) -> Self {
        Request {
            instance: instance.into(),
            ..Request::default()
        }
    }

    /// Names the database user.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Gives a password.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Switches IAM login on or off.
    pub fn iam(mut self, iam: bool) -> Self {
        self.iam = Some(iam);
        self
    }

    /// Asks for an address type.
    pub fn ip_type(mut self, ip_type: &str) -> Self {
        self.ip_type = Some(ip_type.to_owned());
        self
    }

    /// Names the driver.
    pub fn driver(mut self, driver: &str) -> Self {
        self.driver = Some(driver.to_owned());
        self
    }

    /// Sets the connect deadline in seconds.
    pub fn timeout(mut self, seconds: f64) -> Self {
        self.timeout = Some(seconds);
        self
    }

    /// Names the Admin API.
    pub fn admin_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.admin_endpoint = Some(endpoint.into());
        self
    }

    /// Adds a variable to the client's environment.
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }
}
