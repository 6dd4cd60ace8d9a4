//! A zone for which the arena has to grow, asked for over a real connection; one of another build's rows.

use super::*;
use crate::counters::SHARD_ZONE;
use baton_schema::control::{FromPrimary, ToPrimary};
use baton_shared_state::arena::{Access, ArenaSpec};
use baton_shared_state::channel::{Channel, Listener};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Answers one request as the supervisor does: the new segment first, then the zone in it.
fn grow_and_answer(listener: &Listener, arena: &Arena, directory: &Directory) -> Channel {
    let soon = Instant::now() + Duration::from_secs(10);
    let channel = listener.accept(soon).expect("the primary connects");
    let Ok(Some((
        FromPrimary::CreateZone {
            name,
            schema,
            generation,
            len,
            policy,
            count,
            stride,
        },
        _,
    ))) = channel.recv(soon)
    else {
        panic!("another message")
    };
    let spec = ZoneSpec {
        name: &name,
        schema: &schema,
        generation,
        len,
        policy,
        count,
        stride,
    };
    let mut grown = None;
    let zone = directory.create_zone_or_grow(&spec, |bytes| {
        grown = Some(arena.add_segment(bytes)?);
        Ok(())
    });
    let (zone, grown) = (zone.expect("room"), grown.expect("the arena was full"));
    let fd = arena.segment_fd(&grown).expect("just made");
    let keys = vec![format!("segment/{grown}")];
    let fds = ToPrimary::Fds { keys, last: true };
    channel.send(&fds, &[fd.as_fd()]).expect("sent");
    let answer = ToPrimary::Zone {
        id: zone.id,
        offset: zone.offset,
        len: zone.len,
        generation,
    };
    channel.send(&answer, &[]).expect("sent");
    channel
}

#[test]
fn a_zone_in_a_segment_that_the_arena_has_just_grown_by_is_mapped() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let listener = Listener::bind(&socket).expect("a socket");
    let spec = ArenaSpec {
        mbufs: 64,
        tables_bytes: 2 << 20,
        ..ArenaSpec::default()
    };
    let theirs = Arena::create(&spec).expect("an arena");
    let directory = Directory::create(&theirs).expect("a directory");
    let ours = Arena::attach(theirs.fds().expect("descriptors"), Access::ReadWrite).expect("ours");
    std::thread::scope(|scope| {
        let supervisor = scope.spawn(|| grow_and_answer(&listener, &theirs, &directory));
        let link = Link::connect(&socket).expect("connects");
        let mut authority = Authority::Supervisor(link);
        let mut declare = Declare::default();
        counters::declare(&mut declare);
        let decls = declare.into_zones();
        let decl = decls
            .iter()
            .find(|decl| decl.name == SHARD_ZONE)
            .expect("declared");
        let wanted = Wanted {
            name: &decl.name,
            schema: decl.schema(),
            policy: decl.policy,
            len: 8 << 20,
            count: 1,
            stride: 0,
        };
        let (_, region) = authority
            .create(&ours, 1, &wanted)
            .expect("granted and mapped");
        assert_eq!(region.len(), 8 << 20);
        let Authority::Supervisor(mut link) = authority else {
            unreachable!("made above")
        };
        let kept = link.next(Duration::from_secs(1)).expect("connected");
        assert!(matches!(kept, Some((ToPrimary::Fds { .. }, fds)) if fds.len() == 1));
        drop(supervisor.join());
    });
}

#[test]
fn a_zone_whose_rows_lie_at_another_distance_is_refused_by_name() {
    let spec = ArenaSpec {
        mbufs: 64,
        tables_bytes: 2 << 20,
        ..ArenaSpec::default()
    };
    let arena = Arena::create(&spec).expect("an arena");
    let mut declare = Declare::default();
    counters::declare(&mut declare);
    let decls = declare.into_zones();
    let decl = &decls[0];
    let size = size_of(decl, 16, 1).expect("a size");
    let own = Directory::create(&arena).expect("a directory");
    let zone = ZoneSpec {
        name: &decl.name,
        schema: decl.schema(),
        generation: 1,
        len: size.len * 2,
        policy: Policy::Adopt,
        count: size.count,
        stride: size.stride + 8,
    };
    let id = own.create_zone(&zone).expect("room").id;
    own.publish(id).expect("published");
    let directory = Directory::open(&arena).expect("a directory");
    let mut authority = Authority::Own(own);
    let mut resolver = Resolver {
        arena: &arena,
        directory: &directory,
        authority: &mut authority,
        generation: 1,
        live: Some(1),
        shards: 1,
    };
    let adopted = ZoneDecl {
        policy: Policy::Adopt,
        ..decl.clone()
    };
    let why = resolver.all(&[adopted], |_| 16).expect_err("refused");
    let (found, wanted) = (size.stride + 8, size.stride);
    let said = format!("its rows lie {found} bytes apart and this build wants {wanted}");
    assert!(why.to_string().contains(&said), "{why}");
}
