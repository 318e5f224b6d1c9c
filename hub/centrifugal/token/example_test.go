package token_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

// The backend signs a token with any library for JWT; here it is the one that the Verifier uses.
func Example() {
	secret := []byte("only the backend and this server know it")
	sign := func(expire time.Time) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "anna", "exp": expire.Unix()}).SignedString(secret)
		if err != nil {
			log.Fatal(err)
		}
		return text
	}

	v, err := token.New(token.Config{Secret: secret})
	if err != nil {
		log.Fatal(err)
	}
	anna, err := v.Connect(sign(time.Now().Add(time.Hour)))
	fmt.Println(anna.User, err)
	_, err = v.Connect(sign(time.Now().Add(-time.Hour)))
	fmt.Println(errors.Is(err, token.ErrExpired))
	// Output:
	// anna <nil>
	// true
}
