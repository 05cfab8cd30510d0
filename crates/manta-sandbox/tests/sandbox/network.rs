//! No socket leads anywhere but to the agent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::support::all_tiers;

#[test]
fn sockets_of_every_family_are_refused() {
    for lab in all_tiers() {
        // 2 INET, 10 INET6, 16 NETLINK, 17 PACKET, 15 KEY, 31 BLUETOOTH, 38 ALG, 40 VSOCK, 44 XDP and the rest by number.
        let said = lab.must(
            "import socket\n\
             made = []\n\
             for family in range(64):\n\
             \x20   for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):\n\
             \x20       try: socket.socket(family, kind).close(); made.append(family)\n\
             \x20       except PermissionError: pass\n\
             \x20       except OSError as e: made.append((family, e.errno))\n\
             print(sorted(set(made)))",
        );
        assert_eq!(said, "[]", "{:?}", lab.tier);
    }
}

#[test]
fn socket_pairs_work() {
    for lab in all_tiers() {
        assert_eq!(
            lab.must("import socket\na, b = socket.socketpair()\na.send(b'hi'); print(b.recv(2))"),
            "b'hi'",
            "{:?}",
            lab.tier
        );
    }
}

#[test]
fn unconnected_pairs_that_could_send_to_a_socket_file_are_refused() {
    for lab in all_tiers() {
        lab.refused("socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)", &["EPERM"]);
    }
}

#[test]
fn local_sockets_of_the_host_are_out_of_reach() {
    for lab in all_tiers() {
        let name = format!("manta-test-{}", std::process::id());
        let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap());
        let path = lab.dir.path().join("listening");
        let _path = UnixListener::bind(&path).unwrap();
        for address in [format!("b'\\0{name}'"), format!("{path:?}")] {
            lab.refused(&format!("socket.socket(socket.AF_UNIX).connect({address})"), &["EPERM"]);
        }
    }
}
