//! A slow link is no dead one, and a dead one is not waited for without end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use snapback::error::hint_of;
use snapback::store::{S3, S3Options, Store as _, get};

use crate::support::faulty_s3::{Ask, FaultyS3};

/// How much passes at a time.
const PIECE: usize = 16 << 10;

/// A link to `server` that takes so long for each [`PIECE`], and from a client no more than `limit` bytes per connection.
/// Returns its address.
fn link(server: SocketAddr, pause: Duration, limit: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // What the kernel takes in counts as sent.
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 4 * PIECE).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(server) else { return };
            let (from_far, to_client) = (far.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pass(client, far, pause, limit));
            thread::spawn(move || pass(from_far, to_client, pause, usize::MAX));
        }
    });
    address
}

fn pass(mut from: TcpStream, mut to: TcpStream, pause: Duration, limit: usize) {
    let (mut buffer, mut passed) = ([0; PIECE], 0);
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        thread::sleep(pause * bytes as u32 / PIECE as u32);
        if to.write_all(&buffer[..bytes]).is_err() {
            return;
        }
        passed += bytes;
        if passed >= limit {
            // Nothing moves any more, and nobody hangs up.
            thread::sleep(Duration::from_secs(600));
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

fn through(server: &FaultyS3, address: SocketAddr) -> S3 {
    S3::new(S3Options {
        endpoint_url: Some(format!("http://{address}")),
        attempts: Some(2),
        timeout: Some(Duration::from_secs(2)),
        ..server.options()
    })
}

#[tokio::test]
async fn a_slow_link_takes_its_time_and_nothing_is_sent_twice() {
    let server = FaultyS3::start();
    // 1 MiB in a second: three parts at once take longer than the server has to answer in.
    let store = through(&server, link(server.address(), Duration::from_millis(16), usize::MAX));
    let bytes = Bytes::from(vec![7; 18 << 20]);
    let mut upload = store.create("job/large").await.unwrap();
    for piece in bytes.chunks(1 << 20) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    upload.finish(Bytes::new()).await.unwrap();
    assert_eq!(server.count(Ask::Part), 3);
    assert!(get(&store, "job/large", u64::MAX).await.unwrap() == bytes);
    assert_eq!(server.count(Ask::Get), 1);
}

#[tokio::test]
async fn a_link_that_goes_dead_is_given_up() {
    let server = FaultyS3::start();
    let store = through(&server, link(server.address(), Duration::ZERO, 1 << 20));
    let mut upload = store.create("job/large").await.unwrap();
    upload.write(Bytes::from(vec![7; 18 << 20])).await.unwrap();
    let error = upload.finish(Bytes::new()).await.unwrap_err();
    assert!(hint_of(&error).unwrap().contains("the network"), "{error:#}");
    assert!(server.objects().is_empty());
}
