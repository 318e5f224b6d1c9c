package client

import (
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/golang-jwt/jwt/v5"
)

func TestToken(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		ada := user(t, f, "ada")
		l, _ := ada.follow(t, fresh("who"), centrifuge.SubscriptionConfig{})
		r, err := l.Presence(ctx(t))
		ok(t, err)
		got := r.Clients[ada.id]
		same(t, "who is there", []any{len(r.Clients), got.Client, got.User, string(got.ConnInfo)}, []any{1, ada.id, "ada", `{"nick":"ADA"}`})
	})
}

func TestTokenRefused(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": "ada"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
		ok(t, err)
		for _, bad := range []string{"x", none, token(t, jwt.MapClaims{"sub": "ada"}) + "x", token(t, jwt.MapClaims{"sub": "ada", "channel": "x"})} {
			p := dial(t, f, centrifuge.Config{Token: bad})
			_ = p.Connect()
			if e := p.next(t, "disconnected"); !e.said(3500, "invalid token") {
				t.Errorf("%s: %d %s", bad, e.code, e.reason)
			}
		}
	})
}

func TestTokenExpired(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		p := dial(t, f, centrifuge.Config{
			Token: token(t, jwt.MapClaims{"sub": "ada", "exp": in(-time.Minute)}),
			GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
				return token(t, jwt.MapClaims{"sub": "ada"}), nil
			},
		})
		p.connect(t)
	})
}

func TestTokenRefreshed(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		asked := make(chan struct{}, 10)
		p := dial(t, f, centrifuge.Config{GetToken: func(centrifuge.ConnectionTokenEvent) (string, error) {
			asked <- struct{}{}
			return token(t, jwt.MapClaims{"sub": "ada", "exp": in(2 * time.Second)}), nil
		}})
		p.connect(t)
		p.next(t, "connecting")
		for range 3 { // at connect, and twice later: by then the first has been expired for longer than the server bears
			select {
			case <-asked:
			case <-time.After(patience):
				t.Fatal("nobody asked for a token")
			}
		}
		_, err := p.RPC(ctx(t), "echo", []byte("{}"))
		ok(t, err)
		p.no(t, "error")
		p.no(t, "connecting")
	})
}

func TestRPC(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		ada := user(t, f, "ada")
		const value = `{"text":"é€𝄞","list":[1,null,{}]}`
		r, err := ada.RPC(ctx(t), "echo", []byte(value))
		ok(t, err)
		same(t, "echo", string(r.Data), value)
		r, err = ada.RPC(ctx(t), "whoami", nil)
		ok(t, err)
		same(t, "whoami", string(r.Data), `{"user":"ada"}`)
		_, err = ada.RPC(ctx(t), "fail", []byte("{}"))
		fails(t, 4000, err)
		_, err = ada.RPC(ctx(t), "unknown", []byte("{}"))
		fails(t, 104, err)
		if _, err = ada.RPC(ctx(t), "leave", []byte("{}")); err == nil {
			t.Error("no error")
		}
		if e := ada.next(t, "disconnected"); !e.said(4500, "you asked for it") {
			t.Errorf("%d %s", e.code, e.reason)
		}
	})
}

func TestSend(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		ada := user(t, f, "ada")
		ok(t, ada.Send(ctx(t), []byte("{}")))
		if e := ada.next(t, "disconnected"); !e.said(3508, "not available") {
			t.Errorf("%d %s", e.code, e.reason)
		}
	})
}
