//! What servers other than AWS answer a little differently.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt as _;

/// Lets the SDK understand servers built on gofakes3 (`rclone serve s3` is one): they call the root element of
/// the answer to CreateMultipartUpload after the request, and the SDK takes no other name than its own.
#[derive(Debug)]
pub struct UploadRoot;

impl Intercept for UploadRoot {
    fn name(&self) -> &'static str {
        "UploadRoot"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *response.body_mut() = SdkBody::from_body_1_x(body.map_frame(|frame| frame.map_data(|data| rename(&data))));
        Ok(())
    }
}

fn rename(data: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(data);
    Bytes::from(text.replace("InitiateMultipartUpload>", "InitiateMultipartUploadResult>"))
}
