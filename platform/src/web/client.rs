//! Where a request came from.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use http::Extensions;
use http::request::Parts;

/// Marks requests that came by HTTPS; the HTTPS listener adds it.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// The other end of the connection. Forwarding headers are not believed.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub address: Option<IpAddr>,
    pub over_tls: bool,
}

impl Client {
    pub fn of(extensions: &Extensions) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        Self {
            address: peer.map(|ConnectInfo(peer)| peer.ip().to_canonical()),
            over_tls: extensions.get::<OverTls>().is_some(),
        }
    }

    /// Whether the request comes from this machine.
    pub fn is_local(&self) -> bool {
        self.address.is_some_and(|address| address.is_loopback())
    }

    /// For the audit log; empty when unknown.
    pub fn text(&self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
