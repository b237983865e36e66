//! Plays a PostgreSQL that answers the startup packet with a scripted FATAL, also where there is no database.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads requests for encryption and the startup packet, then refuses.
pub(crate) async fn refuse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    code: &str,
    message: &str,
) -> io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let kind = stream.read_u32().await?;
        if ENCRYPTION_REQUESTS.contains(&kind) {
            stream.write_all(b"N").await?;
            stream.flush().await?;
            continue;
        }
        let rest = u64::from(length.saturating_sub(8).min(LONGEST));
        tokio::io::copy(&mut (&mut stream).take(rest), &mut tokio::io::sink()).await?;
        break;
    }
    stream.write_all(&error_response(code, message)).await?;
    stream.shutdown().await
}

fn error_response(code: &str, message: &str) -> Vec<u8> {
    let mut fields = Vec::new();
    for (name, value) in [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', code),
        (b'M', message),
    ] {
        fields.push(name);
        fields.extend(value.bytes().filter(|byte| *byte != 0));
        fields.push(0);
    }
    fields.push(0);
    let length = u32::try_from(fields.len() + 4).expect("a scripted message is short");
    [&b"E"[..], &length.to_be_bytes(), &fields].concat()
}

/// SSLRequest and GSSENCRequest.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];
const LONGEST: u32 = 10_000;
