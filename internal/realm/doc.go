// Package realm knows who issues tokens and verifies what they issued. The
// publisher uses it for bearers and for the tokens it is asked to revoke, the
// sidecar for the tokens it is asked to check.
//
// # Use
//
// [New] makes [Realms] from configuration. [Realms.Verify] takes an access
// token, [Realms.VerifyRefresh] a refresh token, and [Realms.VerifySignature]
// a token that is to be revoked, whatever its times say. [Realms.VerifyAgain]
// judges a token that Verify accepted before, for whoever keeps those. [Realms.Close]
// ends what runs in the background.
//
// # What a verified token is
//
// It has passed the strict reading of [events.ParseToken], its iss belongs to
// exactly one realm, and its signature was made with one of that issuer's keys
// under an asymmetric algorithm that fits the key. Its times are in order, and
// it does not live longer than the realm's bound: a rule is kept for that long
// only, so a token that outlives it would come back to life.
//
// # Where keys come from
//
// From a file, from a URL, or by OIDC discovery; nothing else is fetched, and
// never a place that a token names. Keys are renewed before they are too old
// and when a token names one that is not there, at a bounded rate. A key that
// its issuer no longer lists is refused from the next renewal on.
//
// # When the issuer is away
//
// Keys that were had once stay in use until the issuer answers again; the log
// says so. Keys that were never had make verification fail with
// [ErrKeysUnavailable], which is no verdict on the token.
//
// # Concurrency
//
// All methods of Realms are safe for concurrent use. A verification reads an
// immutable set of keys behind an atomic pointer; it takes a lock and waits for
// the network only when keys are missing or too old.
//
// # Development
//
// [OpenDev] makes two realms with keys on disk, and issues tokens of them, for
// demonstrations and tests.
package realm
