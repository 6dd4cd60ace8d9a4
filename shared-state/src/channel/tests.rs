use super::*;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn a_message_arrives_with_its_descriptors() {
    let (a, b) = Channel::pair().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"kept").unwrap();
    a.send(&(7u32, "seven".to_owned()), &[file.as_fd()])
        .unwrap();
    let ((number, text), fds) = b.recv::<(u32, String)>(soon()).unwrap().unwrap();
    assert_eq!((number, text.as_str(), fds.len()), (7, "seven", 1));
    let mut same = std::fs::File::from(fds.into_iter().next().unwrap());
    let mut kept = String::new();
    same.rewind().unwrap();
    same.read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "kept");
    assert_eq!(b.peer().unwrap().pid, std::process::id());
}

#[test]
fn received_descriptors_do_not_leak_into_children() {
    let (a, b) = Channel::pair().unwrap();
    a.send(&1u8, &[a.as_fd()]).unwrap();
    let (_, fds) = b.recv::<u8>(soon()).unwrap().unwrap();
    let flags = nix::fcntl::fcntl(&fds[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn a_closed_peer_is_the_end_after_its_last_word() {
    let (a, b) = Channel::pair().unwrap();
    a.send(&5u64, &[]).unwrap();
    drop(a);
    assert_eq!(b.recv::<u64>(soon()).unwrap().unwrap().0, 5);
    assert!(b.recv::<u64>(soon()).unwrap().is_none());
    assert!(matches!(b.send(&1u8, &[]), Err(ChannelError::Closed)));
}

#[test]
fn waiting_ends_at_the_deadline() {
    let (_a, b) = Channel::pair().unwrap();
    assert!(matches!(
        b.recv::<u8>(Instant::now()),
        Err(ChannelError::TimedOut)
    ));
}

#[test]
fn garbage_is_an_error_and_the_next_message_arrives() {
    let (a, b) = Channel::pair().unwrap();
    a.send_bytes(b"garbage that is no message", &[], MsgFlags::empty())
        .unwrap();
    a.send(&9u8, &[]).unwrap();
    assert!(matches!(b.recv::<u8>(soon()), Err(ChannelError::Wire(_))));
    assert_eq!(b.recv::<u8>(soon()).unwrap().unwrap().0, 9);
}

#[test]
fn what_is_too_large_is_refused_at_both_ends() {
    let (a, b) = Channel::pair().unwrap();
    let long = vec![1u8; wire::MAX_MESSAGE + 1];
    assert!(matches!(a.send(&long, &[]), Err(ChannelError::Wire(_))));
    a.send_bytes(&long, &[], MsgFlags::empty()).unwrap();
    let error = b.recv::<u8>(soon()).unwrap_err();
    assert!(
        error.to_string().contains("more than 131072 bytes"),
        "{error}"
    );
}

#[test]
fn too_many_descriptors_are_refused_at_both_ends() {
    let (a, b) = Channel::pair().unwrap();
    let most = vec![a.as_fd(); MAX_FDS];
    a.send(&1u8, &most).unwrap();
    assert_eq!(b.recv::<u8>(soon()).unwrap().unwrap().1.len(), MAX_FDS);
    let more = vec![a.as_fd(); MAX_FDS + 1];
    assert!(matches!(
        a.send(&1u8, &more),
        Err(ChannelError::TooManyFds { .. })
    ));
    for count in [MAX_FDS + 1, MAX_FDS + 40] {
        a.send_bytes(
            &wire::encode(&1u8).unwrap(),
            &vec![a.as_fd(); count],
            MsgFlags::empty(),
        )
        .unwrap();
        let error = b.recv::<u8>(soon()).unwrap_err();
        assert!(matches!(error, ChannelError::TooManyFds { .. }), "{error}");
    }
}

#[test]
fn a_listener_is_private_and_there_is_one_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listener = Listener::bind(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let client = Channel::connect(&path).unwrap();
    let server = listener.accept(soon()).unwrap();
    client.send(&3u8, &[]).unwrap();
    assert_eq!(server.recv::<u8>(soon()).unwrap().unwrap().0, 3);
    let error = Listener::bind(&path).unwrap_err();
    assert!(error.to_string().contains("running instance"), "{error}");
}

#[test]
fn a_stale_socket_is_replaced_and_a_foreign_file_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(Listener::bind(&path).unwrap());
    let error = Channel::connect(&path).unwrap_err();
    assert!(
        error.to_string().contains("is the instance running?"),
        "{error}"
    );
    let listener = Listener::bind(&path).unwrap();
    assert_eq!(listener.path(), path);
    let timed_out = listener.accept(Instant::now()).unwrap_err();
    assert!(matches!(timed_out, ChannelError::TimedOut));
    let file = dir.path().join("precious");
    std::fs::write(&file, "x").unwrap();
    assert!(Listener::bind(&file).is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
}

#[test]
fn a_peer_that_does_not_read_blocks_nobody() {
    let (a, b) = Channel::pair().unwrap();
    let long = vec![1u8; wire::MAX_MESSAGE / 2];
    let refused = (0..10_000).find_map(|_| a.try_send(&long, &[]).err());
    assert!(matches!(refused, Some(ChannelError::Full)), "{refused:?}");
    b.recv::<Vec<u8>>(soon()).unwrap().unwrap();
    a.try_send(&long, &[]).expect("there is room again");
}
