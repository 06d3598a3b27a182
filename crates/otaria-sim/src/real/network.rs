//! tokio's sockets and the system's name look-up as a device's network.

use core::net::{IpAddr, SocketAddr};
use std::io;

use embedded_io_adapters::tokio_1::FromTokio;
use embedded_nal_async::{AddrType, Dns, TcpConnect};
use tokio::net::{TcpStream, lookup_host};

/// The machine's own network.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealNetwork;

impl TcpConnect for RealNetwork {
    type Error = io::Error;
    type Connection<'a> = FromTokio<TcpStream>;

    async fn connect(&self, remote: SocketAddr) -> io::Result<FromTokio<TcpStream>> {
        let stream = TcpStream::connect(remote).await?;
        // smoltcp's default too: what a device writes is written as a whole.
        stream.set_nodelay(true)?;
        Ok(FromTokio::new(stream))
    }
}

impl Dns for RealNetwork {
    type Error = io::Error;

    async fn get_host_by_name(&self, host: &str, addr_type: AddrType) -> io::Result<IpAddr> {
        let addrs = lookup_host((host, 0)).await?;
        let mut fitting = addrs.map(|addr| addr.ip()).filter(|addr| match addr_type {
            AddrType::IPv4 => addr.is_ipv4(),
            AddrType::IPv6 => addr.is_ipv6(),
            AddrType::Either => true,
        });
        fitting.next().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The system offers no portable way to do this, and no device needs it.
    async fn get_host_by_address(&self, _addr: IpAddr, _result: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
