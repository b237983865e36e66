//! The messages of `google.cloud.sql.v1beta4.SqlDataService`, field by field.

use prost::{Message, Oneof};

/// `StreamSqlDataRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamRequest {
    #[prost(message, optional, tag = "4")]
    pub(super) ack: Option<Ack>,
    #[prost(oneof = "Asked", tags = "5, 6, 7, 8")]
    pub(super) message: Option<Asked>,
}

/// What a client says.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Asked {
    #[prost(message, tag = "5")]
    Start(StartSession),
    #[prost(message, tag = "6")]
    Continue(StartSession),
    #[prost(message, tag = "7")]
    Data(DataPacket),
    #[prost(message, tag = "8")]
    Terminate(TerminateSession),
}

/// `StreamSqlDataResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) ack: Option<Ack>,
    #[prost(oneof = "Told", tags = "3, 4, 5")]
    pub(super) message: Option<Told>,
}

/// What the service says.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Told {
    #[prost(message, tag = "3")]
    Metadata(SessionMetadata),
    #[prost(message, tag = "4")]
    Data(DataPacket),
    #[prost(message, tag = "5")]
    Terminate(TerminateSession),
}

/// `StartSession` and `ContinueSession`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StartSession {
    /// `locations/R`.
    #[prost(string, tag = "1")]
    pub(super) location_id: String,
    /// `projects/P/instances/I`.
    #[prost(string, tag = "2")]
    pub(super) instance_id: String,
    #[prost(string, tag = "3")]
    pub(super) session_id: String,
}

/// `DataPacket`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DataPacket {
    #[prost(int64, tag = "1")]
    pub(super) first_byte_offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}

/// `Ack`: how many bytes of the other direction have arrived.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Ack {
    #[prost(int64, tag = "1")]
    pub(super) received_offset: i64,
}

/// `TerminateSession`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TerminateSession {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<RpcStatus>,
}

/// `google.rpc.Status`, without details.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

/// `SessionMetadata`; sessions here cannot be continued, so it lists no feature.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SessionMetadata {
    #[prost(int32, repeated, tag = "1")]
    pub(super) supported_features: Vec<i32>,
}
