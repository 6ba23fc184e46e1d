"Packaging for setuptools; every value lives in `settings.ini`, where nbdev reads it too."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
NEWEST_MINOR = 13


def read_settings() -> dict[str, str]:
    "The settings as nbdev reads them"
    parser = ConfigParser(delimiters=['='], interpolation=None)
    parser.read(ROOT / 'settings.ini', encoding='utf-8')
    return dict(parser['DEFAULT'])


def long_description(default: str) -> str:
    "The README if there is one"
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else default


def classifiers(audience: str, oldest_python: str) -> list[str]:
    "The classifiers that package indexes show"
    oldest_minor = int(oldest_python.split('.')[1])
    versions = range(oldest_minor, NEWEST_MINOR + 1)
    pythons = [f'Programming Language :: Python :: 3.{minor}' for minor in versions]
    return ['Development Status :: 3 - Alpha', f'Intended Audience :: {audience}', *pythons]


def extras(settings: dict[str, str]) -> dict[str, list[str]]:
    "What `NAME_requirements` lists, by name"
    suffix = '_requirements'
    names = [key.removesuffix(suffix) for key in settings if key.endswith(suffix)]
    return {name: settings[name + suffix].split() for name in names}


settings = read_settings()
library = settings['lib_path']
setup(
    name=settings['lib_name'],
    version=settings['version'],
    description=settings['description'],
    keywords=settings['keywords'],
    author=settings['author'],
    author_email=settings['author_email'],
    url=settings['git_url'],
    license='Apache-2.0',
    long_description=long_description(settings['description']),
    long_description_content_type='text/markdown',
    classifiers=classifiers(settings['audience'], settings['min_python']),
    packages=find_packages(include=[library, f'{library}.*']),
    package_data={
        library: [
            'py.typed',
            'data/*.csv',
            'presets/*.yaml',
            'weights/SHA256SUMS',
            'weights/*/*',
        ]
    },
    zip_safe=False,
    python_requires=f'>={settings["min_python"]}',
    install_requires=settings['requirements'].split(),
    extras_require=extras(settings),
    entry_points={
        'console_scripts': settings['console_scripts'].split(),
        'nbdev': [f'{library}={library}._modidx:d'],
    },
)
