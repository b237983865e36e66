package peers

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"cloud.google.com/go/alloydbconn"
	"github.com/jackc/pgx/v5/pgconn"
)

func alloydbDialer(t *testing.T, options ...alloydbconn.Option) *alloydbconn.Dialer {
	t.Helper()
	fixed := []alloydbconn.Option{
		alloydbconn.WithAdminAPIEndpoint(start(t).url),
		alloydbconn.WithOptOutOfBuiltInTelemetry(),
	}
	dialer, err := alloydbconn.NewDialer(limited(t), append(fixed, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	return dialer
}

func alloydbUser(
	t *testing.T, dialer *alloydbconn.Dialer, instance, user, password string, options ...alloydbconn.DialOption,
) (string, error) {
	t.Helper()
	return currentUser(limited(t), user, password, func(ctx context.Context) (net.Conn, error) {
		return dialer.Dial(ctx, instance, options...)
	})
}

func TestAlloyDBLogsIn(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		options := []alloydbconn.Option{alloydbconn.WithIAMAuthN()}
		if lazy {
			options = append(options, alloydbconn.WithLazyRefresh())
		}
		dialer := alloydbDialer(t, options...)
		for kind, option := range map[string]alloydbconn.DialOption{
			"PRIVATE": alloydbconn.WithPrivateIP(),
			"PRIMARY": alloydbconn.WithPublicIP(),
		} {
			if user, err := alloydbUser(t, dialer, alloydb, iamUser, "", option); err != nil || user != iamUser {
				t.Fatalf("%s: %q %v", kind, user, err)
			}
			seen := last(t, alloydb)
			if seen.AuthType != "AUTO_IAM" || seen.Principal != serviceAccount {
				t.Errorf("%+v", seen)
			}
			if !strings.HasPrefix(seen.UserAgent, "alloydb-go-connector/") {
				t.Errorf("user agent %q", seen.UserAgent)
			}
			for _, item := range start(t).instances {
				if item.Name == alloydb && item.Addresses[kind] != seen.Server {
					t.Errorf("%s went to %s", kind, seen.Server)
				}
			}
		}
		if user, err := alloydbUser(t, dialer, readPool, iamUser, ""); err != nil || user != iamUser {
			t.Fatalf("read pool: %q %v", user, err)
		}
	}
}

func TestAlloyDBThroughPrivateServiceConnect(t *testing.T) {
	resolve := func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		for _, item := range start(t).instances {
			if item.Name == alloydb && strings.TrimSuffix(item.PSC, ".") == strings.TrimSuffix(host, ".") {
				address = item.Addresses["PSC"]
			}
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	dialer := alloydbDialer(t, alloydbconn.WithIAMAuthN(), alloydbconn.WithDialFunc(resolve))
	user, err := alloydbUser(t, dialer, alloydb, iamUser, "", alloydbconn.WithPSC())
	if err != nil || user != iamUser {
		t.Fatalf("%q %v", user, err)
	}
}

func TestAlloyDBTakesPasswords(t *testing.T) {
	built := start(t)
	for kind, options := range map[string][]alloydbconn.Option{
		"DB_NATIVE": nil,
		"":          {alloydbconn.WithOptOutOfAdvancedConnectionCheck()},
	} {
		dialer := alloydbDialer(t, options...)
		user, err := alloydbUser(t, dialer, alloydb, built.user, built.password)
		if err != nil || user != built.user {
			t.Fatalf("%q: %q %v", kind, user, err)
		}
		if seen := last(t, alloydb); seen.AuthType != kind {
			t.Errorf("%+v", seen)
		}
		if _, err := alloydbUser(t, dialer, alloydb, built.user, "wrong"); !isFatal(err, "28P01") {
			t.Errorf("wrong password: %v", err)
		}
	}
}

func TestAlloyDBRefusesOthers(t *testing.T) {
	dialer := alloydbDialer(t, alloydbconn.WithIAMAuthN())
	built := start(t)
	for _, user := range []string{human, built.user} {
		_, err := alloydbUser(t, dialer, alloydb, user, built.password)
		if !isFatal(err, "28000") || !strings.Contains(err.Error(), "AlloyDB IAM user authentication failed") {
			t.Errorf("%s: %v", user, err)
		}
	}
	absent := strings.Replace(alloydb, "my-primary", "absent", 1)
	if _, err := alloydbUser(t, dialer, absent, iamUser, ""); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("absent: %v", err)
	}
}

func TestAlloyDBRefusesAWrongServer(t *testing.T) {
	for _, certificate := range []string{"wrong_address", "foreign_ca", "expired"} {
		t.Run(certificate, func(t *testing.T) {
			present(t, alloydb, certificate)
			_, err := alloydbUser(t, alloydbDialer(t, alloydbconn.WithIAMAuthN()), alloydb, iamUser, "")
			if err == nil || !strings.Contains(err.Error(), "x509") {
				t.Errorf("%v", err)
			}
			if seen := last(t, alloydb); seen.Seen || seen.Received > 0 {
				t.Errorf("%+v", seen)
			}
		})
	}
}

func TestAlloyDBExchangeIsRefused(t *testing.T) {
	fault := map[string]any{
		"endpoint": "metadataExchange", "instance": alloydb, "times": 1,
		"effect": map[string]string{"kind": "refuse_exchange", "message": "not today"},
	}
	control(t, http.MethodPost, "/faults", fault, nil)
	dialer := alloydbDialer(t, alloydbconn.WithIAMAuthN())
	if _, err := alloydbUser(t, dialer, alloydb, iamUser, ""); err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("%v", err)
	}
	if user, err := alloydbUser(t, dialer, alloydb, iamUser, ""); err != nil || user != iamUser {
		t.Errorf("%q %v", user, err)
	}
}

func isFatal(err error, code string) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == code
}
