//! `NativeConnector` of `node/src/native.ts`: one engine call per method.

use iamsql::{ClientProtocol, ConnectOptions, Connector, ListenOptions, LocalProxyOptions, Result};
use napi::Env;
use napi::bindgen_prelude::{Function, Object, Promise};
use napi_derive::napi;

use crate::credentials::{self, GivenToken};
use crate::error::{promise, thrown};
use crate::gate::Gate;
use crate::options::{ConnectorOptions, NativeConnectOptions};
use crate::pair::Pair;
use crate::proxy::{NativeListenOptions, Proxy};
use crate::runtime;

/// The engine's connector.
#[napi(js_name = "Connector")]
pub struct NativeConnector {
    connector: Connector,
}

#[napi]
impl NativeConnector {
    /// Reads credentials files; contacts nobody. Tokens come from `ask`, and those of logins from `ask_login`, if they are
    /// given.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        options: ConnectorOptions,
        ask: Option<Function<'_, String, Promise<GivenToken>>>,
        ask_login: Option<Function<'_, String, Promise<GivenToken>>>,
    ) -> napi::Result<Self> {
        let mut builder = Connector::builder();
        let asked = ask.map(credentials::from_function).transpose()?;
        if let Some(credentials) = options.credentials(asked) {
            builder = builder.credentials(credentials);
        }
        if let Some(ask) = ask_login {
            builder = builder.login_credentials(credentials::from_function(ask)?);
        }
        options
            .apply_to(builder)
            .and_then(|builder| builder.build_blocking())
            .map(|connector| NativeConnector { connector })
            .map_err(|error| thrown(&env, &error))
    }

    /// Fetches what connecting needs.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn warm<'env>(
        &self,
        env: &'env Env,
        instance: String,
        options: NativeConnectOptions,
    ) -> napi::Result<Object<'env>> {
        let connector = self.connector.clone();
        promise(env, async move {
            connector.warm(&instance, &options.try_into()?).await
        })
    }

    /// The database user of the IAM principal.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn user<'env>(&self, env: &'env Env, instance: String) -> napi::Result<Object<'env>> {
        let connector = self.connector.clone();
        promise(env, async move { connector.user(&instance).await })
    }

    /// A socket pair that dials later.
    #[napi]
    pub fn pair(
        &self,
        env: Env,
        instance: String,
        options: NativeConnectOptions,
    ) -> napi::Result<Pair> {
        in_process(options)
            .and_then(|options| self.connector.pair(&instance, &options))
            .map(Pair::from)
            .map_err(|error| thrown(&env, &error))
    }

    /// A private path that leads to the instance.
    #[napi]
    pub fn gate(
        &self,
        env: Env,
        instance: String,
        options: NativeConnectOptions,
    ) -> napi::Result<Gate> {
        let open = || {
            let runtime = runtime::handle()?;
            let _entered = runtime.enter();
            let options = ListenOptions::new()
                .connect(in_process(options)?)
                .socket_name("tunnel");
            self.connector.listen(&instance, &options)
        };
        open().map(Gate::from).map_err(|error| thrown(&env, &error))
    }

    /// A Unix socket at a path, which leads to the instance.
    #[napi]
    pub fn listen(
        &self,
        env: Env,
        instance: String,
        options: NativeConnectOptions,
        listen: NativeListenOptions,
    ) -> napi::Result<Proxy> {
        let open = || {
            let runtime = runtime::handle()?;
            let _entered = runtime.enter();
            let options = LocalProxyOptions::new()
                .connect(options.try_into()?)
                .readable_all(listen.readable_all.unwrap_or_default())
                .writable_all(listen.writable_all.unwrap_or_default());
            self.connector
                .local_proxy(&instance, &listen.path, &options)
        };
        open()
            .map(Proxy::from)
            .map_err(|error| thrown(&env, &error))
    }

    /// Ends dials in flight and refuses new ones.
    #[napi]
    pub fn close(&self) {
        self.connector.close();
    }
}

/// What a driver of this process gets is a plain socket to it, over which none would send a password as it is: MySQL's
/// server must be told so, or it takes the request for its public key for the password.
fn in_process(options: NativeConnectOptions) -> Result<ConnectOptions> {
    let options: ConnectOptions = options.try_into()?;
    Ok(options.client_protocol(ClientProtocol::Tcp))
}
