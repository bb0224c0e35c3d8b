//! The closed list of what is written down.

/// Declares the actions with their numbers and words.
macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        /// Something that was done. Numbers are frozen once a version has shipped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns its number in a record.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number),* }
            }

            /// Returns its word for people and metrics.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// Returns the action that was written as `number`.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

actions! {
    /// A chain was begun.
    Begun = 1, "begun";
    /// A person was registered.
    PersonRegistered = 2, "person_registered";
    /// What a person agreed to was changed.
    ConsentChanged = 3, "consent_changed";
    /// A ticket was issued.
    TicketIssued = 4, "ticket_issued";
    /// A way-back slip led to a person.
    PersonShown = 5, "person_shown";
    /// A way-back slip was refused.
    PersonRefused = 6, "person_refused";
    /// A person's data were ordered erased.
    ErasureOrdered = 7, "erasure_ordered";
    /// A person's record was removed.
    PersonErased = 8, "person_erased";
    /// A staff member was given an account.
    StaffAdded = 9, "staff_added";
    /// A staff member's account was removed.
    StaffRemoved = 10, "staff_removed";
    /// A crash came between an act and its record: the act is written down at the next start.
    ActRecovered = 11, "act_recovered";
    /// A device was admitted.
    DeviceAdmitted = 16, "device_admitted";
    /// A ticket was shown by another key than the one that spent it.
    TicketReused = 17, "ticket_reused";
    /// A device was revoked.
    DeviceRevoked = 18, "device_revoked";
    /// A device was suspended.
    DeviceSuspended = 19, "device_suspended";
    /// A patient's keys were destroyed.
    KeysDestroyed = 20, "keys_destroyed";
    /// A grant was issued.
    GrantIssued = 21, "grant_issued";
    /// Keys were unwrapped for a grant's reader.
    KeysUnwrapped = 22, "keys_unwrapped";
    /// Keys were refused to a grant's reader.
    KeysRefused = 23, "keys_refused";
    /// A pseudonym key was rotated.
    PseudonymsRotated = 24, "pseudonyms_rotated";
    /// A way-back slip was issued.
    WayBackIssued = 32, "way_back_issued";
    /// An alert was acknowledged.
    AlertAcknowledged = 33, "alert_acknowledged";
    /// An alert was snoozed.
    AlertSnoozed = 34, "alert_snoozed";
    /// A model was promoted.
    ModelPromoted = 35, "model_promoted";
    /// A model was taken back.
    ModelRolledBack = 36, "model_rolled_back";
    /// A setting was changed.
    ConfigChanged = 37, "config_changed";
    /// History was exported.
    HistoryExported = 38, "history_exported";
    /// A label was given to an event.
    EventLabelled = 39, "event_labelled";
    /// A user proved who they are.
    SignedIn = 48, "signed_in";
    /// A user failed to prove who they are.
    SignInRefused = 49, "sign_in_refused";
}
