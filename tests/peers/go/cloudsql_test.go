package peers

import (
	"context"
	"net"
	"strings"
	"testing"

	"cloud.google.com/go/cloudsqlconn"
)

func cloudsqlDialer(t *testing.T, options ...cloudsqlconn.Option) *cloudsqlconn.Dialer {
	t.Helper()
	fixed := []cloudsqlconn.Option{cloudsqlconn.WithAdminAPIEndpoint(start(t).url), cloudsqlconn.WithBuiltInMetrics(false)}
	dialer, err := cloudsqlconn.NewDialer(limited(t), append(fixed, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialer.Close() })
	return dialer
}

func postgresUser(
	t *testing.T, dialer *cloudsqlconn.Dialer, instance, user, password string, options ...cloudsqlconn.DialOption,
) (string, error) {
	t.Helper()
	return currentUser(limited(t), user, password, func(ctx context.Context) (net.Conn, error) {
		return dialer.Dial(ctx, instance, options...)
	})
}

func TestPostgresLogsIn(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		options := []cloudsqlconn.Option{cloudsqlconn.WithIAMAuthN()}
		if lazy {
			options = append(options, cloudsqlconn.WithLazyRefresh())
		}
		dialer := cloudsqlDialer(t, options...)
		for _, option := range []cloudsqlconn.DialOption{
			cloudsqlconn.WithPublicIP(), cloudsqlconn.WithPrivateIP(), cloudsqlconn.WithAutoIP(),
		} {
			if user, err := postgresUser(t, dialer, postgres, iamUser, "", option); err != nil || user != iamUser {
				t.Fatalf("%q %v", user, err)
			}
		}
	}
}

func TestPostgresTakesPasswords(t *testing.T) {
	built := start(t)
	for _, options := range [][]cloudsqlconn.Option{nil, {cloudsqlconn.WithIAMAuthN()}} {
		dialer := cloudsqlDialer(t, options...)
		user, err := postgresUser(t, dialer, postgres, built.user, built.password)
		if err != nil || user != built.user {
			t.Fatalf("%q %v", user, err)
		}
		if _, err := postgresUser(t, dialer, postgres, built.user, "wrong"); !isFatal(err, "28P01") {
			t.Errorf("wrong password: %v", err)
		}
	}
}

func TestPostgresRefusesOthers(t *testing.T) {
	dialer := cloudsqlDialer(t, cloudsqlconn.WithIAMAuthN())
	_, err := postgresUser(t, dialer, postgres, human, "")
	if !isFatal(err, "28000") || !strings.Contains(err.Error(), "Cloud SQL IAM user authentication failed") {
		t.Errorf("%v", err)
	}
	absent := "your-project-id:us-central1:absent"
	if _, err := postgresUser(t, dialer, absent, iamUser, ""); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("absent: %v", err)
	}
}

func TestPostgresRefusesAWrongServer(t *testing.T) {
	for certificate, word := range map[string]string{
		"wrong_name": "certificate had CN", "foreign_ca": "x509", "expired": "x509",
	} {
		t.Run(certificate, func(t *testing.T) {
			present(t, postgres, certificate)
			_, err := postgresUser(t, cloudsqlDialer(t, cloudsqlconn.WithIAMAuthN()), postgres, iamUser, "")
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%v", err)
			}
			if seen := last(t, postgres); seen.Seen || seen.Received > 0 {
				t.Errorf("%+v", seen)
			}
		})
	}
}
