//! What is refused, by which name, and that nothing is changed by it.

use super::*;

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut writer = empty(Family::V4, 4);
    let cases = [
        (
            Rule {
                src: Prefix::v6(0, 33),
                ..Rule::ANY
            },
            "prefix of 33 bits, an address has 32",
        ),
        (
            Rule {
                dport: (2, 1),
                ..Rule::ANY
            },
            "ports 2 to 1: the range ends before it begins",
        ),
        (
            Rule {
                categories: 0,
                ..Rule::ANY
            },
            "rule without a category: it could never match",
        ),
        (
            Rule {
                action: 0,
                ..Rule::ANY
            },
            "rule with action 0, which means no match: choose 1 or more",
        ),
    ];
    for (rule, message) in cases {
        assert_eq!(writer.add(&rule).unwrap_err().to_string(), message);
        assert_eq!(
            writer.build(&[Rule::ANY, rule]).unwrap_err().to_string(),
            message
        );
    }
    assert_eq!(writer.remove(RuleId(0)), Err(AclError::NoRule { id: 0 }));
    assert_eq!(
        writer.remove(RuleId(9999)),
        Err(AclError::NoRule { id: 9999 })
    );
    let id = writer.add(&Rule::ANY).unwrap();
    assert_eq!(writer.build(&[]), Err(AclError::NotEmpty { rules: 1 }));
    assert_eq!(writer.get(id), Some(&Rule::ANY));
    assert!(matches!(
        Acl::attach(Region::private(8192)),
        Err(AclError::Kind { found: 0, .. })
    ));
    assert!(
        Acl::bytes_for(
            Family::V4,
            Sizes {
                classes: 1 << 15,
                ..small()
            }
        )
        .is_err()
    );
}

#[test]
fn what_runs_out_is_named_and_comes_back_with_a_rest() {
    let bytes = Acl::bytes_for(Family::V4, small()).unwrap();
    let mut writer = Acl::create(Region::private(bytes), Family::V4, small()).unwrap();
    let mut last = writer.add(&Rule::ANY).unwrap();
    let full = loop {
        match writer.add(&Rule {
            priority: 1,
            ..Rule::ANY
        }) {
            Ok(id) => last = id,
            Err(full) => break full,
        }
    };
    assert!(
        matches!(
            full,
            AclError::Full {
                what: "blocks",
                used: 1,
                resting: 8,
                ..
            }
        ),
        "{full:?}"
    );
    let n = writer.len();
    writer.remove(last).unwrap();
    let mut waited = 0;
    writer.remove(RuleId(0)).unwrap_err();
    writer.remove_waiting(RuleId(0), || waited += 1).unwrap();
    assert_eq!((waited, writer.len(), writer.audit()), (1, n - 2, 0));
}
