package recipes

import (
	"fmt"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/engine"
)

// jwtKey signs tokens. Every server that checks them needs it.
var jwtKey = []byte("32 bytes that only servers know.")

// userOf checks a token and returns the user that it names, and until when.
func userOf(token string) (user string, until time.Time, err error) {
	var claims jwt.RegisteredClaims
	_, err = jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return jwtKey, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
	if err != nil {
		return "", time.Time{}, err
	}
	return claims.Subject, claims.ExpiresAt.Time, nil
}

// A browser cannot set headers of a handshake, and a URL is written to logs. So
// the token travels as the second subprotocol, new WebSocket(url, ['chat', token]),
// and the server chooses the first. The connection ends when the token does.
func Example_loginWithJWT() {
	type login struct {
		user  string
		until time.Time
	}
	e := server(engine.Config{}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			var offered []string
			for p := range u.Request.Fields.Tokens("Sec-WebSocket-Protocol") {
				offered = append(offered, p)
			}
			if len(offered) != 2 || offered[0] != "chat" {
				return engine.Refuse(http.StatusBadRequest, "the subprotocols must be chat and a token")
			}
			user, until, err := userOf(offered[1])
			if err != nil {
				return engine.Refuse(http.StatusUnauthorized, "log in first")
			}
			u.Subprotocol, u.State = "chat", login{user, until}
			return nil
		},
		OnOpen: func(c *engine.Conn) {
			l := c.State().(login)
			c.After(time.Until(l.until), func() { _ = c.Close(4001, "log in again") })
			_ = c.SendText("hello " + l.user)
		},
	})
	client, stop := serve(e)
	defer stop()
	url := "ws://" + e.Addr().String() + "/"

	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject: "Grace", ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).SignedString(jwtKey)
	if err != nil {
		panic(err)
	}
	grace, status := visit(client, engine.Dial{URL: url, Subprotocols: []string{"chat", token}})
	fmt.Println(status, <-grace.heard)
	_, status = visit(client, engine.Dial{URL: url, Subprotocols: []string{"chat", token + "x"}})
	fmt.Println(status)
	// Output:
	// 101 hello Grace
	// 401
}
