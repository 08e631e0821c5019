package events_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rescind/rescind/events"
)

func TestReceiptsOfLargeFleetsFit(t *testing.T) {
	r := sampleReceipt(t)
	for i := range 8000 {
		r.Applied = append(r.Applied, events.Application{Agent: fmt.Sprintf("payments-service/host-%06d.prod.example.com", i), AfterMS: 123})
	}
	raw, err := testSigner(t).SignReceipt(fleet, pubURL, signedAt, r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := testKeySet(t).OpenReceipt(fleet, raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What could not be opened is not signed.
	r.Reason = strings.Repeat("x", events.MaxReceiptBytes)
	if _, err := testSigner(t).SignReceipt(fleet, pubURL, signedAt, r); err == nil {
		t.Error("a receipt beyond the limit is signed")
	}
}
