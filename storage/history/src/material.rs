//! Key material as Parquet's own tools know it: JSON in the form PKMT1, whose wrapped key is a
//! handle into the key registry. A file holds no key, wrapped or not: what a handle names can be
//! destroyed, and with it every copy of the column.

use pulseward_custody::dek::{Class, Handle};

/// Returns the key metadata of a footer or a column.
pub(crate) fn material(handle: &Handle) -> Vec<u8> {
    let footer = handle.class == Class::Footer;
    let kms = if footer {
        r#""kmsInstanceID":"DEFAULT","kmsInstanceURL":"DEFAULT","#
    } else {
        ""
    };
    format!(
        r#"{{"keyMaterialType":"PKMT1","internalStorage":true,"isFooterKey":{footer},{kms}"masterKeyID":"{}","wrappedDEK":"{}","doubleWrapping":false}}"#,
        handle.class,
        handle.text(),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_material_is_frozen() {
        let handle = |class| {
            material(&Handle {
                file: [0x1f; 16],
                class,
            })
        };
        let file = "1f".repeat(16);
        assert_eq!(
            String::from_utf8(handle(Class::Footer)).unwrap(),
            format!(
                r#"{{"keyMaterialType":"PKMT1","internalStorage":true,"isFooterKey":true,"kmsInstanceID":"DEFAULT","kmsInstanceURL":"DEFAULT","masterKeyID":"footer","wrappedDEK":"dek:v1:{file}/footer","doubleWrapping":false}}"#
            )
        );
        assert_eq!(
            String::from_utf8(handle(Class::Values)).unwrap(),
            format!(
                r#"{{"keyMaterialType":"PKMT1","internalStorage":true,"isFooterKey":false,"masterKeyID":"values","wrappedDEK":"dek:v1:{file}/values","doubleWrapping":false}}"#
            )
        );
    }
}
