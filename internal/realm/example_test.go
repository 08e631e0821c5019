package realm_test

import (
	"context"
	"fmt"
	"os"

	"github.com/rescind/rescind/internal/realm"
)

func ExampleRealms_Verify() {
	dir, err := os.MkdirTemp("", "realms")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	dev, err := realm.OpenDev(dir)
	if err != nil {
		panic(err)
	}
	realms, err := realm.New(dev.Configs(), realm.Options{})
	if err != nil {
		panic(err)
	}
	defer realms.Close()

	raw, err := dev.Issue(realm.TokenRequest{Realm: "demo", User: "jack", Session: "s-1"})
	if err != nil {
		panic(err)
	}
	v, err := realms.Verify(context.Background(), raw)
	if err != nil {
		panic(err)
	}
	fmt.Println(v.Realm.Name, v.User(), v.Session())

	_, err = realms.Verify(context.Background(), raw[:len(raw)-86]+"Forgery0")
	fmt.Println(err)
	// Output:
	// demo jack s-1
	// bad signature
}
