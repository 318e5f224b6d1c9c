package client

import (
	"testing"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"
)

// whileAway takes a client away, does that, and waits until it is connected again.
func (p *peer) whileAway(t *testing.T, meanwhile func()) {
	t.Helper()
	ok(t, p.Disconnect())
	p.next(t, "disconnected")
	meanwhile()
	p.connect(t)
}

func TestRecovery(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		for _, c := range []struct {
			channel   string
			missed    []string
			recovered bool
			gets      []string
		}{
			{"all", []string{"2", "3"}, true, []string{"2", "3"}},
			{"nothing", nil, true, nil},
			{"short:too-much", []string{"2", "3", "4", "5", "6", "7"}, false, nil},
			{"cache:latest", []string{"2", "3", "4"}, true, []string{"4"}},
		} {
			ada := user(t, f, "ada")
			l, _ := ada.follow(t, fresh(c.channel), centrifuge.SubscriptionConfig{})
			publish(t, l.Channel, "1")
			l.gets(t, "1")
			ada.whileAway(t, func() { publish(t, l.Channel, c.missed...) })
			e := l.next(t, "subscribed")
			same(t, c.channel, []bool{e.wasRecovering, e.recovered}, []bool{true, c.recovered})
			l.gets(t, c.gets...)
			publish(t, l.Channel, `"last"`)
			l.gets(t, `"last"`)
			l.no(t, "publication")
		}
	})
}

func TestServerSide(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		channel := fresh("pushed")
		bob, _ := user(t, f, "bob").follow(t, channel, centrifuge.SubscriptionConfig{JoinLeave: true})
		bob.next(t, "join")
		ada := dial(t, f, centrifuge.Config{Token: token(t, jwt.MapClaims{"sub": "ada", "channels": []string{channel}})})
		ada.connect(t)
		said := ada.next(t, "subscribed")
		same(t, "subscribed", []any{said.channel, said.recoverable}, []any{channel, true})
		same(t, "join", bob.next(t, "join").info.Client, ada.id)
		publish(t, channel, "1")
		ada.gets(t, "1")
		ada.whileAway(t, func() { publish(t, channel, "2", "3") })
		said = ada.next(t, "subscribed")
		same(t, "recovered", []bool{said.wasRecovering, said.recovered}, []bool{true, true})
		ada.gets(t, "2", "3")
		publish(t, channel, "4")
		ada.gets(t, "4")
		ada.no(t, "publication")
	})
}
