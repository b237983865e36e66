//! A target for an AlloyDB instance: where it is, and a certificate that says no more than that we may connect.

use std::sync::Arc;

use crate::control::admin::ConnectionInfo;
use crate::control::certificate::Certificate;
use crate::control::credentials::Scope;
use crate::control::http::patience::Patience;
use crate::control::issuer::{GoogleIssuer, Half, both};
use crate::control::target::Target;
use crate::error::Result;
use crate::instance::Instance;

impl GoogleIssuer {
    /// The certificate is nobody's login, so both ways to log in share it; and no token's end bounds its life.
    pub(super) async fn alloydb(
        &self,
        instance: &Instance,
        suspect: bool,
        generation: u64,
        patience: &Patience,
    ) -> Result<Target> {
        if let Some(known) = &self.static_info {
            return known.target(instance, self.clock.now(), generation);
        }
        let info = async {
            let info = self.connection_info(instance, suspect, patience).await;
            info.map_err(Half::Settings)
        };
        let certificate = async {
            let certificate = self.client_certificate(instance, patience).await;
            certificate.map_err(Half::Certificate)
        };
        let (info, (certificate, authority)) = both(info, certificate).await?;
        let key = self.key.get().await?;
        Target::alloydb(&info, &authority, &certificate, key.signer, generation)
    }

    async fn connection_info(
        &self,
        instance: &Instance,
        suspect: bool,
        patience: &Patience,
    ) -> Result<Arc<ConnectionInfo>> {
        let fetch = |patience: Patience| async move {
            let patience = &patience;
            self.authorized(Scope::CloudPlatform, patience, |token| async move {
                self.alloydb
                    .connection_info(instance, &token, patience)
                    .await
            })
            .await
        };
        self.connection_info
            .get(instance, suspect, patience, fetch)
            .await
    }

    /// A certificate for the engine's key, and the authority that vouches for the servers.
    async fn client_certificate(
        &self,
        instance: &Instance,
        patience: &Patience,
    ) -> Result<(Certificate, String)> {
        let key = self.key.get().await?;
        let public = &key.public_pem;
        let issued = self
            .authorized(Scope::CloudPlatform, patience, |token| async move {
                self.alloydb
                    .generate_client_certificate(instance, public, &token, patience)
                    .await
            })
            .await?;
        let certificate = Certificate::read_chain(&issued.chain, self.clock.now())?;
        Ok((certificate, issued.authority))
    }
}
