//! The AlloyDB API over gRPC: two methods of `google.cloud.alloydb.v1beta.AlloyDBAdmin`.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

use super::message::{
    ClientCertificate, ConnectionInfo, GenerateClientCertificate, GetConnectionInfo,
};
use super::rest::METADATA_EXCHANGE;
use super::{Wanted, client_certificate, connection_info, first_of};
use crate::caller::Caller;
use crate::faults::Endpoint;
use crate::grpc::{Method, Subject, unary};
use crate::sqladmin::error::ApiError;
use crate::world::World;

/// The service.
#[derive(Clone)]
pub(crate) struct AlloyDbAdmin(Arc<World>);

impl AlloyDbAdmin {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        AlloyDbAdmin(world.clone())
    }
}

impl NamedService for AlloyDbAdmin {
    const NAME: &'static str = "google.cloud.alloydb.v1beta.AlloyDBAdmin";
}

impl Service<http::Request<Body>> for AlloyDbAdmin {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let world = self.0.clone();
        let method = request.uri().path().rsplit('/').next();
        match method {
            Some("GetConnectionInfo") => {
                Box::pin(async move { Ok(unary(world, request, GET_CONNECTION_INFO).await) })
            }
            Some("GenerateClientCertificate") => {
                Box::pin(
                    async move { Ok(unary(world, request, GENERATE_CLIENT_CERTIFICATE).await) },
                )
            }
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

fn instance_asked(world: &World, asked: &GetConnectionInfo) -> Subject {
    let instance = world.instance(&asked.parent);
    Subject {
        endpoint: Endpoint::ConnectionInfo,
        instance: instance.map(|one| one.text.clone()),
        parent: asked.parent.clone(),
        detail: None,
    }
}

fn tell_connection_info(
    world: &World,
    caller: &Caller,
    asked: GetConnectionInfo,
) -> Result<ConnectionInfo, ApiError> {
    connection_info(world, caller, &asked.parent)
}

fn cluster_asked(world: &World, asked: &GenerateClientCertificate) -> Subject {
    let exchanges = asked.use_metadata_exchange;
    Subject {
        endpoint: Endpoint::GenerateClientCertificate,
        instance: first_of(world, &asked.parent),
        parent: asked.parent.clone(),
        detail: exchanges.then(|| METADATA_EXCHANGE.to_string()),
    }
}

fn sign_certificate(
    world: &World,
    caller: &Caller,
    asked: GenerateClientCertificate,
) -> Result<ClientCertificate, ApiError> {
    let wanted = Wanted {
        public_key: asked.public_key,
        duration: asked.cert_duration,
        exchange: asked.use_metadata_exchange,
    };
    client_certificate(world, caller, &asked.parent, &wanted)
}

const GET_CONNECTION_INFO: Method<GetConnectionInfo, ConnectionInfo> = Method {
    subject: instance_asked,
    answer: tell_connection_info,
};
const GENERATE_CLIENT_CERTIFICATE: Method<GenerateClientCertificate, ClientCertificate> = Method {
    subject: cluster_asked,
    answer: sign_certificate,
};
