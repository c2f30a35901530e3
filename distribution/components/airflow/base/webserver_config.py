"""People log in with GitHub; teams of one organisation become roles of Airflow.

Settings come from the environment: GITHUB_ORGANIZATION, GITHUB_ADMIN_TEAM and GITHUB_USER_TEAM (values.yaml; teams by
their slug), GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET (Secret airflow-github).
"""

import os

from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
from flask_appbuilder.const import AUTH_OAUTH

ORGANIZATION = os.environ.get("GITHUB_ORGANIZATION", "")

AUTH_TYPE = AUTH_OAUTH
AUTH_ROLES_MAPPING = {
    os.environ.get("GITHUB_ADMIN_TEAM", ""): ["Admin"],
    os.environ.get("GITHUB_USER_TEAM", ""): ["User"],
}
# Whoever is in a team has an account. The role of registration adds nothing: it has no permission.
AUTH_USER_REGISTRATION = True
AUTH_USER_REGISTRATION_ROLE = "Public"
# Who leaves a team loses its role at the next login, and logins end after twelve hours.
AUTH_ROLES_SYNC_AT_LOGIN = True
PERMANENT_SESSION_LIFETIME = 12 * 60 * 60

OAUTH_PROVIDERS = [
    {
        "name": "github",
        "icon": "fa-github",
        "token_key": "access_token",
        "remote_app": {
            "client_id": os.environ.get("GITHUB_CLIENT_ID"),
            "client_secret": os.environ.get("GITHUB_CLIENT_SECRET"),
            "api_base_url": "https://api.github.com/",
            "client_kwargs": {"scope": "read:user user:email read:org"},
            "access_token_url": "https://github.com/login/oauth/access_token",
            "authorize_url": "https://github.com/login/oauth/authorize",
            "request_token_url": None,
        },
    },
]


class GitHubTeams(FabAirflowSecurityManagerOverride):
    """Lets in who is in a team that has a role, and nobody else."""

    def get_oauth_user_info(self, provider, resp=None):
        """What Airflow has to know of a person; nothing, which refuses the login, of one in no known team."""
        github = self.oauth_remotes[provider]
        person = self._get(github, "user")
        teams = {
            team["slug"]
            for team in self._all(github, "user/teams")
            if team["organization"]["login"].lower() == ORGANIZATION.lower()
        }
        known = sorted(teams & (AUTH_ROLES_MAPPING.keys() - {""}))
        if not known:
            return {}
        first_name, _, last_name = (person.get("name") or person["login"]).partition(" ")
        return {
            "username": f"github_{person['login']}",
            "first_name": first_name,
            "last_name": last_name,
            "email": person.get("email") or "",
            "role_keys": known,
        }

    @staticmethod
    def _get(github, path):
        answer = github.get(path)
        # An error's body has no teams either: it must not look like a person who left them.
        answer.raise_for_status()
        return answer.json()

    @classmethod
    def _all(cls, github, path):
        """All pages of a list."""
        page = 1
        while items := cls._get(github, f"{path}?per_page=100&page={page}"):
            yield from items
            page += 1


SECURITY_MANAGER_CLASS = GitHubTeams
