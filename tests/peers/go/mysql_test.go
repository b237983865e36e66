// Google's Go connector on MySQL: go-sql-driver logs in through the emulator, and says how its client reached it.

package peers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/cloudsqlconn"
	"cloud.google.com/go/cloudsqlconn/mysql/mysql"
	driver "github.com/go-sql-driver/mysql"
)

const (
	mysqlInstance = "your-project-id:us-central1:peer-mysql"
	declaring     = "your-project-id:us-central1:peer-declaring"
	mysqlUser     = "cloudsql-client"
)

var networks atomic.Int64

// mysqlRuns adds the instances, unless this machine has no MariaDB.
func mysqlRuns(t *testing.T) *emulator {
	t.Helper()
	if _, err := exec.LookPath("mariadbd"); err != nil && os.Getenv("CI") == "" {
		if _, err := os.Stat("/usr/sbin/mariadbd"); err != nil {
			t.Skip("no MariaDB on this machine")
		}
	}
	built := start(t)
	var known []struct{ Name string }
	control(t, "GET", "/instances", nil, &known)
	for _, one := range known {
		if one.Name == mysqlInstance {
			return built
		}
	}
	control(t, "POST", "/instances", map[string]any{"name": mysqlInstance, "database": "mysql"}, nil)
	control(t, "POST", "/instances", map[string]any{
		"name": declaring, "database": "postgres", "client_protocol_exchange": true,
	}, nil)
	return built
}

// mysqlLogin logs in with the connector's own driver.
func mysqlLogin(t *testing.T, user, password string, options ...cloudsqlconn.Option) (string, error) {
	t.Helper()
	name := fmt.Sprintf("cloudsql-mysql-%d", networks.Add(1))
	fixed := []cloudsqlconn.Option{cloudsqlconn.WithAdminAPIEndpoint(mysqlRuns(t).url)}
	cleanup, err := mysql.RegisterDriver(name, append(fixed, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cleanup() }()
	database, err := sql.Open(name, fmt.Sprintf("%s:%s@%s(%s)/mydb", user, password, name, mysqlInstance))
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	var current string
	err = database.QueryRowContext(limited(t), "SELECT CURRENT_USER()").Scan(&current)
	return current, err
}

func declares(kind string) cloudsqlconn.Option {
	return cloudsqlconn.WithDefaultDialOptions(cloudsqlconn.WithMdxClientProtocolType(kind))
}

func isDenied(err error, text string) bool {
	var refused *driver.MySQLError
	return errors.As(err, &refused) && refused.Number == 1045 && strings.Contains(refused.Message, text)
}

func declared(t *testing.T, instance string) string {
	t.Helper()
	var all []struct {
		Instance string  `json:"instance"`
		Protocol *string `json:"client_protocol"`
	}
	control(t, "GET", "/sessions", nil, &all)
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Instance == instance && all[i].Protocol != nil {
			return *all[i].Protocol
		}
	}
	return ""
}

func TestMySQLLogsIn(t *testing.T) {
	iam := cloudsqlconn.WithIAMAuthN()
	for _, password := range []string{"", "password"} {
		if user, err := mysqlLogin(t, mysqlUser, password, iam); err != nil || user != mysqlUser+"@%" {
			t.Fatalf("%q %v", user, err)
		}
	}
	built := start(t)
	for _, user := range []string{"jane", built.user} {
		_, err := mysqlLogin(t, user, built.password, iam)
		if !isDenied(err, "requires an IAM-authenticated user. Access denied for other users.") {
			t.Errorf("%s: %v", user, err)
		}
	}
}

func TestMySQLTakesPasswordsAndHearsOfTheClientsProtocol(t *testing.T) {
	built := mysqlRuns(t)
	for _, kind := range []string{"", "tcp", "tls", "uds"} {
		var options []cloudsqlconn.Option
		if kind != "" {
			options = append(options, declares(kind))
		}
		if user, err := mysqlLogin(t, built.user, built.password, options...); err != nil || user != built.user+"@%" {
			t.Fatalf("%s: %q %v", kind, user, err)
		}
		if seen := declared(t, mysqlInstance); seen != strings.ToUpper(kind) {
			t.Errorf("%q was heard as %q", kind, seen)
		}
		if _, err := mysqlLogin(t, built.user, "wrong", options...); kind != "tls" && kind != "uds" && !isDenied(err, "YES") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestPostgresHearsOfTheClientsProtocolToo(t *testing.T) {
	mysqlRuns(t)
	for _, kind := range []string{"tcp", "tls", "uds"} {
		dialer, err := cloudsqlconn.NewDialer(limited(t), cloudsqlconn.WithAdminAPIEndpoint(start(t).url),
			cloudsqlconn.WithIAMAuthN(), declares(kind))
		if err != nil {
			t.Fatal(err)
		}
		user, err := currentUser(limited(t), iamUser, "", func(ctx context.Context) (net.Conn, error) {
			return dialer.Dial(ctx, declaring)
		})
		_ = dialer.Close()
		if err != nil || user != iamUser {
			t.Fatalf("%s: %q %v", kind, user, err)
		}
		if seen := declared(t, declaring); seen != strings.ToUpper(kind) {
			t.Errorf("%q was heard as %q", kind, seen)
		}
	}
}
