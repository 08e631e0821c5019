package events_test

import (
	"fmt"

	"github.com/rescind/rescind/events"
)

// A token is read once and then asked about as often as there are revocations.
// Its signature has been verified elsewhere.
func ExampleMatch() {
	raw := jwtOf(`{"iss":"https://idp.example.com","sub":"jacknich","iat":1795302000,"exp":1795305600}`)
	token, err := events.ParseToken(raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	signOut := &events.Revocation{
		Target: events.Target{Kind: events.KindUser, Claim: "sub", Value: "jacknich",
			Issuers: []string{"https://idp.example.com"}},
		NotBefore: 1795302001,
		Expires:   1795388461,
	}
	fmt.Println("issued before the sign-out:", events.Match(signOut, token))

	later, err := events.ParseToken(jwtOf(`{"iss":"https://idp.example.com","sub":"jacknich","iat":1795302002}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("issued after it:", events.Match(signOut, later))
	// Output:
	// issued before the sign-out: true
	// issued after it: false
}

// What cannot be read for certain is refused, whatever a laxer reader would see.
func ExampleParseToken_refused() {
	_, err := events.ParseToken(jwtOf(`{"iss":"https://idp.example.com","jti":"a","jti":"b"}`))
	fmt.Println(err)
	// Output: malformed token: payload: a member name appears twice
}

// A publisher signs an event; whoever has the publishers' public keys opens it.
func ExampleSigner_Sign() {
	signer, err := events.NewSigner("eu-1")
	if err != nil {
		fmt.Println(err)
		return
	}
	raw, err := signer.Sign(&events.Revocation{
		ID: events.NewEventID(), Txn: events.NewEventID(),
		Issuer: "https://rescind.example.com", Fleet: events.DefaultFleet,
		IssuedAt: 1795302000, NotBefore: 1795302001, Expires: 1795388461,
		Target:    events.Target{Kind: events.KindUser, Claim: "sub", Value: "jacknich"},
		Reason:    "laptop stolen",
		Initiator: events.ByAdmin,
		Origin:    events.Origin{Publisher: "eu-1", Incarnation: events.NewEventID(), Counter: 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	keys := events.NewKeySet(signer.Public())
	r, _, err := keys.Open(events.DefaultFleet, raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(&r.Target, "-", r.Reason)

	_, _, err = keys.Open("another-fleet", raw)
	fmt.Println(events.Reason(err))
	// Output:
	// user "jacknich" - laptop stolen
	// audience
}
