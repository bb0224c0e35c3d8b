use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = Text> {
    "[A-Za-zÄ-ü][a-zA-Zä-ü .@-]{0,40}[a-z]".prop_map(|text| Text::new(&text).unwrap())
}

fn membership() -> impl Strategy<Value = Membership> {
    let consent = (1_u32..9, any::<u64>(), 0_u8..8, any::<i64>());
    let ticket = (any::<[u8; 16]>(), any::<i64>());
    (
        any::<u32>(),
        any::<[u8; 16]>(),
        prop::collection::vec(consent, 0..4),
        prop::collection::vec(ticket, 0..4),
    )
        .prop_map(|(project, handle, steps, tickets)| {
            let mut version = 0;
            let consents = steps.into_iter().map(|(step, scope, purposes, at)| {
                version += step;
                WrittenConsent {
                    consent: Consent {
                        version,
                        scope,
                        purposes: Purposes::from_bits(purposes).unwrap(),
                    },
                    at: Micros(at),
                }
            });
            Membership {
                project,
                handle: Handle(handle),
                consents: consents.collect(),
                tickets: tickets
                    .into_iter()
                    .map(|(id, expiry)| IssuedTicket {
                        id: TicketId(id),
                        expiry: Micros(expiry),
                    })
                    .collect(),
            }
        })
}

fn person() -> impl Strategy<Value = Person> {
    let birth = (1850_u16..2200, 1_u8..13, 1_u8..29);
    let facts = prop::collection::vec((text(), text()), 0..3);
    (
        any::<[u8; 16]>(),
        (text(), birth, text()),
        any::<i64>(),
        facts,
        prop::collection::vec(membership(), 0..3),
    )
        .prop_map(
            |(id, (name, (year, month, day), contact), registered, facts, memberships)| Person {
                id: PersonId(id),
                particulars: Particulars {
                    name,
                    birth: BirthDate::new(year, month, day).unwrap(),
                    contact,
                },
                registered: Micros(registered),
                facts: facts
                    .into_iter()
                    .map(|(name, value)| Fact { name, value })
                    .collect(),
                memberships,
            },
        )
}

fn persons() -> impl Strategy<Value = BTreeMap<PersonId, Person>> {
    prop::collection::vec(person(), 0..6).prop_map(|persons| {
        persons
            .into_iter()
            .map(|person| (person.id, person))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn persons_are_read_back_as_they_were_written(persons in persons()) {
        let page = encode_persons(&persons);
        prop_assert_eq!(decode_persons(&page), Ok(persons));
    }

    #[test]
    fn a_shard_that_is_cut_or_goes_on_is_refused(persons in persons(), cut in any::<prop::sample::Index>()) {
        let page = encode_persons(&persons);
        let shorter = &page[..cut.index(page.len())];
        prop_assert_eq!(decode_persons(shorter), Err(Malformed));
        let longer = [page.as_slice(), &[0]].concat();
        prop_assert_eq!(decode_persons(&longer), Err(Malformed));
    }

    #[test]
    fn a_changed_byte_is_refused_or_encodes_to_itself(
        persons in persons(),
        at in any::<prop::sample::Index>(),
        with in 1_u8..,
    ) {
        let mut page = encode_persons(&persons).to_vec();
        let at = at.index(page.len());
        page[at] ^= with;
        crate::fuzzing::pages(&page);
    }

    #[test]
    fn any_bytes_are_refused_or_encode_to_themselves(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzzing::pages(&bytes);
        crate::fuzzing::note(&bytes);
    }

    #[test]
    fn spent_slips_are_read_back_as_they_were_written(
        until in any::<i64>(),
        slips in prop::collection::btree_map(any::<[u8; 16]>(), any::<i64>().prop_map(Micros), 0..20),
    ) {
        let spent = Spent { forgotten_until: Micros(until), slips };
        prop_assert_eq!(decode_spent(&encode_spent(&spent)), Ok(spent));
    }
}

#[test]
fn staff_are_read_back_as_they_were_written() {
    let mut staff = BTreeMap::new();
    for role in Role::ALL {
        let name = Text::new("Dr. A").unwrap();
        let (account, credentials) = crate::staff::new_account(name, role, Micros(5));
        staff.insert(credentials.id, account);
    }
    let page = encode_staff(&staff);
    let read = decode_staff(&page).unwrap();
    assert_eq!(encode_staff(&read).as_slice(), page.as_slice());
    assert_eq!(read.len(), 2);
}

#[test]
fn a_length_of_4_gib_allocates_nothing() {
    let mut page = Writer::new();
    page.u32(u32::MAX).u32(u32::MAX);
    assert_eq!(decode_persons(page.as_slice()), Err(Malformed));
    assert!(decode_spent(&[0xff; 12]).is_err());
    assert!(decode_staff(&[0xff; 12]).is_err());
}
