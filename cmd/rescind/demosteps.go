package main

import (
	"fmt"
	"net/http"

	"github.com/rescind/rescind/internal/realm"
)

const elasticsearchPath = "/_security/oauth2/token"

func (d *demo) signIn() error {
	for i, alg := range []string{"EdDSA", "ES256", "RS256"} {
		raw, err := d.token(realm.TokenRequest{User: "visitor", Alg: alg})
		if err != nil {
			return err
		}
		_, body, err := d.get(d.services[i].url, raw)
		if err != nil {
			return err
		}
		d.say("%-5s  200 from all services: %q", alg, body)
	}
	return nil
}

func (d *demo) revokeToken() error {
	raw, err := d.token(realm.TokenRequest{User: "ann", Alg: "RS256"})
	if err != nil {
		return err
	}
	err = d.refused("DELETE "+elasticsearchPath+` {"token":"…"}`, func() (string, error) {
		return d.request(http.MethodDelete, elasticsearchPath, d.adminKey, fmt.Sprintf(`{"token":%q}`, raw), http.StatusOK)
	}, raw)
	if err != nil {
		return err
	}
	other, err := d.token(realm.TokenRequest{User: "ann", Alg: "RS256"})
	if err == nil && other != "" {
		d.say("another token of the same user is accepted by all")
	}
	return err
}

func (d *demo) signOut() error {
	raw, err := d.token(realm.TokenRequest{User: "ben", Alg: "ES256"})
	if err != nil {
		return err
	}
	return d.refused("DELETE /identity/api/tokens  Authorization: Bearer …", func() (string, error) {
		return d.request(http.MethodDelete, "/identity/api/tokens", raw, "", http.StatusNoContent)
	}, raw)
}

func (d *demo) revokeSession() error {
	one, err := d.token(realm.TokenRequest{User: "cat", Session: "s-1"})
	if err != nil {
		return err
	}
	two, err := d.token(realm.TokenRequest{User: "cat", Session: "s-1", Alg: "ES256"})
	if err != nil {
		return err
	}
	body := `{"session":"s-1","realm":"demo","reason":"lost laptop"}`
	return d.refused("POST /v1/revocations "+body, func() (string, error) {
		return d.request(http.MethodPost, "/v1/revocations", d.adminKey, body, http.StatusCreated)
	}, one, two)
}

func (d *demo) revokeUser() error {
	one, err := d.token(realm.TokenRequest{User: "dan"})
	if err != nil {
		return err
	}
	two, err := d.token(realm.TokenRequest{User: "dan", Realm: "partner", Alg: "RS256"})
	if err != nil {
		return err
	}
	return d.refused("DELETE "+elasticsearchPath+` {"username":"dan"}`, func() (string, error) {
		return d.request(http.MethodDelete, elasticsearchPath, d.adminKey, `{"username":"dan"}`, http.StatusOK)
	}, one, two)
}

func (d *demo) revokeUserInRealm() error {
	one, err := d.token(realm.TokenRequest{User: "eve"})
	if err != nil {
		return err
	}
	spared, err := d.token(realm.TokenRequest{User: "eve", Realm: "partner"})
	if err != nil {
		return err
	}
	body := `{"username":"eve","realm_name":"demo"}`
	err = d.refused("DELETE "+elasticsearchPath+" "+body, func() (string, error) {
		return d.request(http.MethodDelete, elasticsearchPath, d.adminKey, body, http.StatusOK)
	}, one)
	if err != nil {
		return err
	}
	if err := d.await(d.services[0].url, spared, http.StatusOK); err != nil {
		return err
	}
	d.say("the user of that name in realm partner is still accepted")
	return nil
}

func (d *demo) revokeRealm() error {
	raw, err := d.token(realm.TokenRequest{User: "fay", Realm: "partner", Alg: "ES256"})
	if err != nil {
		return err
	}
	args := []string{"revoke", "realm", "partner", "--yes", "--reason", "partner was breached"}
	return d.refused("rescind revoke realm partner --yes", func() (string, error) {
		return "(above)", d.command(append(args, "--publisher", d.pub.url, "--api-key-file", d.path("admin.key"))...)
	}, raw)
}

func (d *demo) killAgent() error {
	raw, err := d.token(realm.TokenRequest{User: "gus"})
	if err != nil {
		return err
	}
	last := len(d.services) - 1
	victim := d.services[last]
	if err := victim.kill(); err != nil {
		return err
	}
	d.say("killed   %s (process %d)", victim.name, victim.cmd.Process.Pid)
	body := `{"user":"gus","realm":"demo"}`
	d.services = d.services[:last]
	err = d.refused("POST /v1/revocations "+body, func() (string, error) {
		return d.request(http.MethodPost, "/v1/revocations", d.adminKey, body, http.StatusCreated)
	}, raw)
	if err != nil {
		return err
	}
	again, err := d.startService(last)
	if err != nil {
		return err
	}
	d.services = append(d.services, again)
	if err := d.await(again.url, raw, http.StatusUnauthorized); err != nil {
		return err
	}
	d.say("started  %s again: it refuses the token", again.name)
	return nil
}
